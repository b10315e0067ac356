// What a program is made of beyond the paper's Autophase features: opcodes,
// types, operands, calls, linkage, and how much of it is there twice.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "llvm/IR/Instruction.h"

namespace llvm {
class Module;
} // namespace llvm

namespace codezero {

// Opcodes are numbered from 1 on.
constexpr unsigned NumOpcodes = llvm::Instruction::OtherOpsEnd - 1;

enum class Shape : unsigned {
  // Results of instructions, by type.
  NoResult = NumOpcodes,
  Int1,
  Int8,
  Int16,
  Int32,
  Int64,
  OtherInt,
  Float,
  Double,
  OtherFloat,
  Pointer,
  Vector,
  Aggregate,
  // Operands, by what they are.
  SmallConstant, // fits in eight bits
  LargeConstant,
  OtherConstant,
  Undefined,
  GlobalOperand,
  ArgumentOperand,
  InstructionOperand,
  // Calls, by what they call.
  CallOfLocal,
  CallOfOther,
  CallOfIntrinsic,
  CallOfMemoryIntrinsic,
  CallIndirect,
  CallOfAssembly,
  // Functions with a body.
  Functions,
  LocalFunctions,
  LocalFunctionsUsedOnce,
  SmallFunctions, // up to ten instructions
  NoInlineFunctions,
  SizeFunctions, // minsize
  Arguments,
  BackEdges, // roughly, loops
  // Global variables.
  LocalVariables,
  OtherVariables,
  ConstantVariables,
  // Instructions in functions that are the same as an earlier one.
  InSameFunctions,
  // Instructions that a run of two, four and eight like an earlier one ends
  // with: same opcodes, same types.
  AfterRunOfTwo,
  AfterRunOfFour,
  AfterRunOfEight,
  Count
};

constexpr unsigned NumShapeFeatures = static_cast<unsigned>(Shape::Count);

// Names of the features, in their order.
std::vector<std::string> shapeFeatures();

// Counts, as the enumeration has them, over the number of instructions.
void observeShape(const llvm::Module &M,
                  std::span<float, NumShapeFeatures> Ratios);

} // namespace codezero
