#include "shape.h"

#include <array>

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Analysis/CFG.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/StructuralHash.h"

using namespace llvm;
using codezero::NumShapeFeatures;
using codezero::Shape;

namespace {

constexpr unsigned SmallFunction = 10;

// In the order of the enumeration.
constexpr std::array<const char *, NumShapeFeatures - codezero::NumOpcodes>
    Names = {
        "no-result",
        "int1",
        "int8",
        "int16",
        "int32",
        "int64",
        "other-int",
        "float",
        "double",
        "other-float",
        "pointer",
        "vector",
        "aggregate",
        "small-constant",
        "large-constant",
        "other-constant",
        "undefined",
        "global-operand",
        "argument-operand",
        "instruction-operand",
        "call-of-local",
        "call-of-other",
        "call-of-intrinsic",
        "call-of-memory-intrinsic",
        "call-indirect",
        "call-of-assembly",
        "functions",
        "local-functions",
        "local-functions-used-once",
        "small-functions",
        "no-inline-functions",
        "size-functions",
        "arguments",
        "back-edges",
        "local-variables",
        "other-variables",
        "constant-variables",
        "in-same-functions",
        "after-run-of-two",
        "after-run-of-four",
        "after-run-of-eight",
};

Shape resultOf(const Type &T) {
  switch (T.getTypeID()) {
  case Type::VoidTyID:
    return Shape::NoResult;
  case Type::IntegerTyID:
    switch (T.getIntegerBitWidth()) {
    case 1:
      return Shape::Int1;
    case 8:
      return Shape::Int8;
    case 16:
      return Shape::Int16;
    case 32:
      return Shape::Int32;
    case 64:
      return Shape::Int64;
    default:
      return Shape::OtherInt;
    }
  case Type::FloatTyID:
    return Shape::Float;
  case Type::DoubleTyID:
    return Shape::Double;
  case Type::PointerTyID:
    return Shape::Pointer;
  case Type::FixedVectorTyID:
  case Type::ScalableVectorTyID:
    return Shape::Vector;
  default:
    return T.isFloatingPointTy() ? Shape::OtherFloat : Shape::Aggregate;
  }
}

Shape operandOf(const Value &V) {
  if (isa<Instruction>(V))
    return Shape::InstructionOperand;
  if (isa<Argument>(V))
    return Shape::ArgumentOperand;
  if (isa<GlobalValue>(V))
    return Shape::GlobalOperand;
  if (isa<UndefValue>(V)) // poison as well
    return Shape::Undefined;
  if (const auto *C = dyn_cast<ConstantInt>(&V))
    return C->getValue().isSignedIntN(8) ? Shape::SmallConstant
                                         : Shape::LargeConstant;
  return Shape::OtherConstant;
}

Shape calleeOf(const CallBase &Call) {
  if (isa<MemIntrinsic>(Call))
    return Shape::CallOfMemoryIntrinsic;
  if (isa<IntrinsicInst>(Call))
    return Shape::CallOfIntrinsic;
  if (Call.isInlineAsm())
    return Shape::CallOfAssembly;
  const Function *Callee = Call.getCalledFunction();
  if (!Callee)
    return Shape::CallIndirect;
  return Callee->hasLocalLinkage() ? Shape::CallOfLocal : Shape::CallOfOther;
}

class ShapeCounter {
public:
  void add(const Function &F) {
    const unsigned Instructions = F.getInstructionCount();
    count(Shape::Functions);
    count(Shape::Arguments, F.arg_size());
    if (F.hasLocalLinkage()) {
      count(Shape::LocalFunctions);
      if (F.hasOneUse())
        count(Shape::LocalFunctionsUsedOnce);
    }
    if (Instructions <= SmallFunction)
      count(Shape::SmallFunctions);
    if (F.hasFnAttribute(Attribute::NoInline))
      count(Shape::NoInlineFunctions);
    if (F.hasMinSize())
      count(Shape::SizeFunctions);
    SmallVector<std::pair<const BasicBlock *, const BasicBlock *>> Edges;
    FindFunctionBackedges(F, Edges);
    count(Shape::BackEdges, Edges.size());
    if (!Bodies.insert(StructuralHash(F, /*DetailedHash=*/true)).second)
      count(Shape::InSameFunctions, Instructions);
    for (const BasicBlock &B : F)
      add(B);
  }

  void add(const GlobalVariable &G) {
    count(G.hasLocalLinkage() ? Shape::LocalVariables : Shape::OtherVariables);
    if (G.isConstant())
      count(Shape::ConstantVariables);
  }

  std::array<uint64_t, NumShapeFeatures> Counts{};

private:
  void count(Shape S, uint64_t Times = 1) {
    Counts[static_cast<unsigned>(S)] += Times;
  }

  void add(const BasicBlock &B) {
    // Of the last 2, 4 and 8 instructions each: a run of twice the length is
    // two runs, one after the other.
    SmallVector<uint64_t> Kinds, Twos, Fours;
    for (const Instruction &I : B) {
      ++Counts[I.getOpcode() - 1];
      count(resultOf(*I.getType()));
      for (const Value *V : I.operand_values())
        if (!isa<BasicBlock>(V) && !isa<MetadataAsValue>(V))
          count(operandOf(*V));
      if (const auto *Call = dyn_cast<CallBase>(&I))
        count(calleeOf(*Call));
      Kinds.push_back(kindOf(I));
      const size_t End = Kinds.size();
      if (End < 2)
        continue;
      Twos.push_back(join(Kinds[End - 2], Kinds[End - 1]));
      see(Shape::AfterRunOfTwo, Twos.back());
      if (End < 4)
        continue;
      Fours.push_back(join(Twos[End - 4], Twos.back()));
      see(Shape::AfterRunOfFour, Fours.back());
      if (End >= 8)
        see(Shape::AfterRunOfEight, join(Fours[End - 8], Fours.back()));
    }
  }

  // By value, not by address: the same program gives the same counts.
  static uint64_t kindOf(const Instruction &I) {
    uint64_t Kind = join(I.getOpcode(), typeOf(*I.getType()));
    for (const Value *V : I.operand_values())
      Kind = join(Kind, typeOf(*V->getType()));
    if (const auto *Compare = dyn_cast<CmpInst>(&I))
      Kind = join(Kind, Compare->getPredicate());
    return Kind;
  }

  static uint64_t typeOf(const Type &T) {
    return T.getTypeID() << 24 ^ (T.isIntegerTy() ? T.getIntegerBitWidth() : 0);
  }

  static uint64_t join(uint64_t A, uint64_t B) {
    return hashing::detail::hash_16_bytes(A, B);
  }

  void see(Shape S, uint64_t Run) {
    const unsigned Length =
        static_cast<unsigned>(S) - static_cast<unsigned>(Shape::AfterRunOfTwo);
    if (!Runs[Length].insert(Run & ~(uint64_t(1) << 63)).second)
      count(S);
  }

  DenseSet<uint64_t> Bodies;
  std::array<DenseSet<uint64_t>, 3> Runs;
};

} // namespace

std::vector<std::string> codezero::shapeFeatures() {
  std::vector<std::string> Features;
  for (unsigned Opcode = 1; Opcode <= NumOpcodes; ++Opcode)
    Features.push_back(Instruction::getOpcodeName(Opcode));
  Features.insert(Features.end(), Names.begin(), Names.end());
  return Features;
}

void codezero::observeShape(const llvm::Module &M,
                            std::span<float, NumShapeFeatures> Ratios) {
  ShapeCounter Counter;
  for (const Function &F : M)
    if (!F.isDeclaration())
      Counter.add(F);
  for (const GlobalVariable &G : M.globals())
    Counter.add(G);
  const double Divisor = std::max<uint64_t>(M.getInstructionCount(), 1);
  for (const auto &[Ratio, Count] : zip_equal(Ratios, Counter.Counts))
    Ratio = static_cast<float>(Count / Divisor);
}
