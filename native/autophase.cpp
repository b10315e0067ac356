#include "autophase.h"

#include "llvm/Analysis/CFG.h"
#include "llvm/IR/CFG.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"

using namespace llvm;

namespace {

// Table B1's order. Names are the paper's, misnomers included: what each one
// counts is settled by what CompilerGym 0.2.5 computes.
enum Feature : unsigned {
  BBNumArgsHi,
  BBNumArgsLo,
  OnePred,
  OnePredOneSuc,
  OnePredTwoSuc,
  OneSuccessor,
  TwoPred,
  TwoPredOneSuc,
  TwoEach,
  TwoSuccessor,
  MorePreds,
  BB03Phi,
  BBHiPhi,
  BBNoPhi,
  BeginPhi,
  BranchCount,
  ReturnInt,
  CriticalCount,
  NumEdges,
  Const32Bit,
  Const64Bit,
  NumConstZeroes,
  NumConstOnes,
  UncondBranches,
  BinaryConstArg,
  NumAShrInst,
  NumAddInst,
  NumAllocaInst,
  NumAndInst,
  BlockMid,
  BlockLow,
  NumBitCastInst,
  NumBrInst,
  NumCallInst,
  NumGetElementPtrInst,
  NumICmpInst,
  NumLShrInst,
  NumLoadInst,
  NumMulInst,
  NumOrInst,
  NumPHIInst,
  NumRetInst,
  NumSExtInst,
  NumSelectInst,
  NumShlInst,
  NumStoreInst,
  NumSubInst,
  NumTruncInst,
  NumXorInst,
  NumZExtInst,
  TotalBlocks,
  TotalInsts,
  TotalMemInst,
  TotalFuncs,
  ArgsPhi,
  TestUnary,
};
static_assert(TestUnary + 1 == codezero::NumAutophaseFeatures);
static_assert(TotalInsts == codezero::TotalInstructions);

class Counter {
public:
  explicit Counter(codezero::AutophaseFeatures &Features) : F(Features) {}

  void countBlock(const BasicBlock &BB) {
    ++F[TotalBlocks];
    countEdges(BB);

    int64_t Instructions = 0, Phis = 0, PhiArguments = 0;
    for (const Instruction &I : BB) {
      ++Instructions;
      if (const auto *Phi = dyn_cast<PHINode>(&I)) {
        ++Phis;
        PhiArguments += Phi->getNumIncomingValues();
      }
      countInstruction(I);
    }
    F[TotalInsts] += Instructions;
    F[ArgsPhi] += PhiArguments;

    if (PhiArguments > 5)
      ++F[BBNumArgsHi];
    else if (PhiArguments >= 1)
      ++F[BBNumArgsLo];

    if (Phis == 0)
      ++F[BBNoPhi];
    else
      ++F[Phis <= 3 ? BB03Phi : BBHiPhi];
    // Phis stand at the front of a block, so any phi means one comes first.
    if (Phis > 0)
      ++F[BeginPhi];

    if (Instructions < 15)
      ++F[BlockLow];
    else if (Instructions <= 500)
      ++F[BlockMid];
  }

private:
  void countEdges(const BasicBlock &BB) {
    const Instruction *Terminator = BB.getTerminator();
    const unsigned Successors = Terminator->getNumSuccessors();
    F[NumEdges] += Successors;
    for (unsigned S = 0; S < Successors; ++S)
      F[CriticalCount] += isCriticalEdge(Terminator, S);

    // Edges, not blocks: a switch with two cases to one block counts twice.
    const unsigned Predecessors = pred_size(&BB);
    F[OnePred] += Predecessors == 1;
    F[OnePredOneSuc] += Predecessors == 1 && Successors == 1;
    F[OnePredTwoSuc] += Predecessors == 1 && Successors == 2;
    F[OneSuccessor] += Successors == 1;
    F[TwoPred] += Predecessors == 2;
    F[TwoPredOneSuc] += Predecessors == 2 && Successors == 1;
    F[TwoEach] += Predecessors == 2 && Successors == 2;
    F[TwoSuccessor] += Successors == 2;
    F[MorePreds] += Predecessors > 2;
  }

  void countInstruction(const Instruction &I) {
    if (isa<UnaryInstruction>(I))
      ++F[TestUnary];
    if (isa<BinaryOperator>(I) &&
        (isa<Constant>(I.getOperand(0)) || isa<Constant>(I.getOperand(1))))
      ++F[BinaryConstArg];
    for (const Use &Operand : I.operands())
      if (const auto *Constant = dyn_cast<ConstantInt>(Operand))
        countConstant(*Constant);
    countOpcode(I);
  }

  void countConstant(const ConstantInt &C) {
    F[Const32Bit] += C.getBitWidth() == 32;
    F[Const64Bit] += C.getBitWidth() == 64;
    F[NumConstZeroes] += C.isZero();
    F[NumConstOnes] += C.isOne();
  }

  void countOpcode(const Instruction &I) {
    switch (I.getOpcode()) {
    case Instruction::Br:
      ++F[BranchCount];
      ++F[NumBrInst];
      F[UncondBranches] += cast<BranchInst>(I).isUnconditional();
      break;
    case Instruction::Call: {
      ++F[NumCallInst];
      ++F[TotalMemInst];
      const Function *Callee = cast<CallInst>(I).getCalledFunction();
      F[ReturnInt] += Callee && Callee->getReturnType()->isIntegerTy();
      break;
    }
    case Instruction::Invoke:
      ++F[TotalMemInst];
      break;
    case Instruction::Alloca:
      ++F[NumAllocaInst];
      ++F[TotalMemInst];
      break;
    case Instruction::GetElementPtr:
      ++F[NumGetElementPtrInst];
      ++F[TotalMemInst];
      break;
    case Instruction::Load:
      ++F[NumLoadInst];
      ++F[TotalMemInst];
      break;
    case Instruction::Store:
      ++F[NumStoreInst];
      ++F[TotalMemInst];
      break;
    case Instruction::AShr:
      ++F[NumAShrInst];
      break;
    case Instruction::Add:
      ++F[NumAddInst];
      break;
    case Instruction::And:
      ++F[NumAndInst];
      break;
    case Instruction::BitCast:
      ++F[NumBitCastInst];
      break;
    case Instruction::ICmp:
      ++F[NumICmpInst];
      break;
    case Instruction::LShr:
      ++F[NumLShrInst];
      break;
    case Instruction::Mul:
      ++F[NumMulInst];
      break;
    case Instruction::Or:
      ++F[NumOrInst];
      break;
    case Instruction::PHI:
      ++F[NumPHIInst];
      break;
    case Instruction::Ret:
      ++F[NumRetInst];
      break;
    case Instruction::SExt:
      ++F[NumSExtInst];
      break;
    case Instruction::Select:
      ++F[NumSelectInst];
      break;
    case Instruction::Shl:
      ++F[NumShlInst];
      break;
    case Instruction::Sub:
      ++F[NumSubInst];
      break;
    case Instruction::Trunc:
      ++F[NumTruncInst];
      break;
    case Instruction::Xor:
      ++F[NumXorInst];
      break;
    case Instruction::ZExt:
      ++F[NumZExtInst];
      break;
    default:
      break;
    }
  }

  codezero::AutophaseFeatures &F;
};

} // namespace

codezero::AutophaseFeatures codezero::AutophaseCounter::count(const Module &M) {
  AutophaseFeatures Total{};
  for (const Function &F : M) {
    // Declarations too, whatever Table B1's "non-external" says.
    ++Total[TotalFuncs];
    if (F.isDeclaration())
      continue;
    const auto [Entry, New] = ByFunction.try_emplace(&F, AutophaseFeatures{});
    AutophaseFeatures &Features = Entry->second;
    if (New) {
      Counter Count(Features);
      for (const BasicBlock &BB : F)
        Count.countBlock(BB);
    }
    for (unsigned I = 0; I < NumAutophaseFeatures; ++I)
      Total[I] += Features[I];
  }
  return Total;
}
