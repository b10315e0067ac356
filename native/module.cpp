#include "module.h"

#include "extract.h"
#include "merging.h"
#include "optimizer.h"
#include "properties.h"

#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/InstrTypes.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/StructuralHash.h"
#include "llvm/IR/Verifier.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Linker/Linker.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Transforms/Utils/Cloning.h"

#include <mutex>

using namespace llvm;

namespace codezero {

// A module's LLVMContext, the lock that callers take turns by, and the errors
// reported since they were last taken. LLVM's own handler would print them, and
// end the process.
class Context {
public:
  Context() { LLVM.setDiagnosticHandler(std::make_unique<Collector>(*this)); }

  template <class Error> void throwReported() {
    if (!Errors.empty())
      throw Error(std::exchange(Errors, {}));
  }

  LLVMContext LLVM;
  std::mutex Mutex;
  // Whether LLVM has warned of something.
  bool HasWarned = false;

private:
  struct Collector : DiagnosticHandler {
    explicit Collector(Context &Owner) : Owner(Owner) {}
    bool handleDiagnostics(const DiagnosticInfo &Info) override {
      Owner.HasWarned |= Info.getSeverity() == DS_Warning;
      if (Info.getSeverity() == DS_Error) {
        raw_string_ostream Stream(Owner.Errors);
        DiagnosticPrinterRawOStream Printer(Stream);
        if (!Owner.Errors.empty())
          Stream << '\n';
        Info.print(Printer);
      }
      return true;
    }
    Context &Owner;
  };

  std::string Errors;
};

static void verifyModule(const llvm::Module &M) {
  std::string Message;
  raw_string_ostream Stream(Message);
  if (llvm::verifyModule(M, &Stream))
    throw VerificationError(StringRef(Message).rtrim().str());
}

static std::string toString(const SmallVectorImpl<char> &Bytes) {
  return std::string(Bytes.begin(), Bytes.end());
}

static SmallVector<char, 0> writeBitcode(const llvm::Module &M) {
  SmallVector<char, 0> Bytes;
  raw_svector_ostream Stream(Bytes);
  // Passes and the code generator visit uses in order: without the order, the
  // module read back would not always become the same code.
  WriteBitcodeToFile(M, Stream, /*ShouldPreserveUseListOrder=*/true);
  return Bytes;
}

static std::unique_ptr<llvm::Module>
readBitcode(LLVMContext &Destination, ArrayRef<char> Bytes, StringRef Name) {
  auto Read = parseBitcodeFile(
      MemoryBufferRef(StringRef(Bytes.data(), Bytes.size()), Name),
      Destination);
  if (!Read)
    throw LLVMError(llvm::toString(Read.takeError()));
  return std::move(*Read);
}

static std::unique_ptr<llvm::Module> copyInto(LLVMContext &Destination,
                                              const llvm::Module &M) {
  return readBitcode(Destination, writeBitcode(M), M.getModuleIdentifier());
}

Module::Module(std::unique_ptr<Context> Owner, std::unique_ptr<llvm::Module> IR)
    : Owner(std::move(Owner)), IR(std::move(IR)) {
  // As clang does: names for the values that passes create cost time and space.
  // The names that were read stay.
  this->Owner->LLVM.setDiscardValueNames(true);
}

Module::~Module() = default;

std::unique_ptr<Module> Module::parse(std::string_view Bytes,
                                      const std::string &Name) {
  auto Owner = std::make_unique<Context>();
  // The textual parser reads up to a terminating zero, which a copy adds.
  auto Buffer = MemoryBuffer::getMemBufferCopy(
      StringRef(Bytes.data(), Bytes.size()), Name);
  SMDiagnostic Diagnostic;
  // As opt does: passes must not go by LLVM's default layout, and the code
  // generator by the target's.
  const ParserCallbacks Callbacks(
      [](StringRef TripleText, StringRef Layout) -> std::optional<std::string> {
        if (!Layout.empty())
          return std::nullopt;
        return Triple(TripleText).computeDataLayout();
      });
  auto IR = parseIR(*Buffer, Diagnostic, Owner->LLVM, Callbacks);
  if (!IR) {
    const int Line = std::max(Diagnostic.getLineNo(), 0);
    const int Column = Line ? Diagnostic.getColumnNo() + 1 : 0;
    throw ParseError(Diagnostic.getMessage().str(), Line, Column);
  }
  Owner->throwReported<LLVMError>();
  codezero::verifyModule(*IR);
  return std::unique_ptr<Module>(new Module(std::move(Owner), std::move(IR)));
}

std::unique_ptr<Module> Module::link(const std::vector<const Module *> &Parts,
                                     const std::string &Name) {
  auto Owner = std::make_unique<Context>();
  auto IR = std::make_unique<llvm::Module>(Name, Owner->LLVM);
  Linker Link(*IR);
  for (const Module *Part : Parts) {
    if (!Part)
      throw LLVMError("cannot link what is no module");
    std::lock_guard Lock(Part->Owner->Mutex);
    if (Link.linkInModule(copyInto(Owner->LLVM, *Part->IR))) {
      Owner->throwReported<LLVMError>();
      throw LLVMError("cannot link '" + Part->IR->getModuleIdentifier() + "'");
    }
  }
  return std::unique_ptr<Module>(new Module(std::move(Owner), std::move(IR)));
}

std::unique_ptr<Module> Module::clone() const {
  std::lock_guard Lock(Owner->Mutex);
  auto CopyOwner = std::make_unique<Context>();
  auto Copy = copyInto(CopyOwner->LLVM, *IR);
  auto Clone = std::unique_ptr<Module>(
      new Module(std::move(CopyOwner), std::move(Copy)));
  Clone->HasChosenInlining = HasChosenInlining;
  return Clone;
}

static Function &findDefinition(llvm::Module &M, StringRef Name) {
  Function *F = M.getFunction(Name);
  if (!F || F->isDeclaration())
    throw LLVMError("no function '" + Name.str() + "' with a body");
  return *F;
}

std::unique_ptr<Module>
Module::extract(const std::vector<std::string> &Functions) const {
  auto Copy = clone();
  SmallVector<Function *> Kept;
  for (const std::string &Name : Functions) {
    Kept.push_back(&findDefinition(*Copy->IR, Name));
    if (Kept.back()->hasAvailableExternallyLinkage())
      throw LLVMError("no code is generated for function '" + Name + "'");
  }
  keepOnly(*Copy->IR, Kept);
  return Copy;
}

Optimizer &Module::optimizer() {
  if (!Passes) {
    // Passes consult a target for costs only: without a code generator for it
    // they assume none, as opt does.
    std::string Error;
    if (IR->getTargetTriple().getArch() != Triple::UnknownArch)
      OptimizerTarget = Target::create(*IR, CompileOptions(), Error);
    Passes = std::make_unique<Optimizer>(
        *IR, OptimizerTarget ? &OptimizerTarget->machine() : nullptr, Features);
  }
  return *Passes;
}

std::shared_ptr<void> Module::holdGlobals() const {
  return OptimizerTarget ? OptimizerTarget->holdGlobals() : nullptr;
}

bool Module::timed(function_ref<bool(Optimizer &)> Run) {
  Optimizer &O = optimizer();
  const auto Held = holdGlobals();
  const double Before = O.seconds();
  const bool Changed = Run(O);
  PassSeconds += O.seconds() - Before;
  Owner->throwReported<LLVMError>();
  return Changed;
}

bool Module::runLocked(const std::string &Pipeline) {
  std::optional<WithoutAlwaysInline> Without;
  if (StringRef(Pipeline).contains("attributor"))
    Without.emplace(*IR);
  return timed([&](Optimizer &O) { return O.run(*IR, Pipeline); });
}

void Module::warmUp() {
  std::lock_guard Lock(Owner->Mutex);
  optimizer();
}

bool Module::run(const std::string &Pipeline) {
  std::lock_guard Lock(Owner->Mutex);
  return runLocked(Pipeline);
}

bool Module::runOn(const std::string &Pipeline, const std::string &Function) {
  std::lock_guard Lock(Owner->Mutex);
  llvm::Function &F = findDefinition(*IR, Function);
  return timed([&](Optimizer &O) { return O.runOn(*IR, F, Pipeline); });
}

bool Module::runVerified(const std::string &Pipeline) {
  std::lock_guard Lock(Owner->Mutex);
  return runVerifiedLocked(Pipeline);
}

bool Module::runMerging(const std::string &Pipeline, const std::string &What,
                        bool Verify) {
  std::lock_guard Lock(Owner->Mutex);
  return codezero::runMerging(
      What, [&]() -> llvm::Module & { return *IR; },
      [&] {
        return Verify ? runVerifiedLocked(Pipeline) : runLocked(Pipeline);
      });
}

bool Module::runVerifiedLocked(const std::string &Pipeline) {
  auto Backup = writeBitcode(*IR);
  const bool Changed = runLocked(Pipeline);
  if (!Changed || !llvm::verifyModule(*IR))
    return Changed;
  // Analyses go before the IR that they describe.
  Passes.reset();
  OptimizerTarget.reset();
  Features.forgetAll();
  IR = readBitcode(Owner->LLVM, Backup, IR->getModuleIdentifier());
  return false;
}

void Module::runClangOz(const CompileOptions &Options) {
  std::lock_guard Lock(Owner->Mutex);
  Optimizer &O = optimizer();
  const auto Held = holdGlobals();
  O.runClangOz(*IR, Options);
  Owner->throwReported<LLVMError>();
}

std::string Module::explicitNesting(const std::string &Pipeline) {
  std::lock_guard Lock(Owner->Mutex);
  return optimizer().explicitNesting(Pipeline);
}

double Module::passSeconds() const {
  std::lock_guard Lock(Owner->Mutex);
  return PassSeconds;
}

bool Module::satisfies(const std::string &Property) const {
  std::lock_guard Lock(Owner->Mutex);
  return hasProperty(*IR, Property);
}

uint64_t Module::instructionCount() const {
  std::lock_guard Lock(Owner->Mutex);
  return IR->getInstructionCount();
}

// A copy whose functions and variables have no names. LLVM's detailed hash
// takes in the names of what code refers to, and the contents of strings, which
// it knows by their names: a copy of a file in another project, its symbols
// renamed or its path in an assertion, would be another program.
static std::unique_ptr<llvm::Module> withoutNames(const llvm::Module &M) {
  auto Copy = CloneModule(M);
  for (GlobalValue &Value : Copy->global_values())
    if (!Value.getName().starts_with("llvm.")) // intrinsics, and llvm.used
      Value.setName("");
  return Copy;
}

AutophaseFeatures Module::autophase() {
  std::lock_guard Lock(Owner->Mutex);
  return Features.count(*IR);
}

uint64_t Module::observe(std::span<float, NumAutophaseFeatures> Ratios) {
  std::lock_guard Lock(Owner->Mutex);
  const AutophaseFeatures Counts = Features.count(*IR);
  const int64_t Instructions = Counts[TotalInstructions];
  const double Divisor = std::max<int64_t>(Instructions, 1);
  for (const auto &[Ratio, Count] : zip_equal(Ratios, Counts))
    Ratio = static_cast<float>(Count / Divisor);
  return Instructions;
}

void Module::observeShape(std::span<float, NumShapeFeatures> Ratios) const {
  std::lock_guard Lock(Owner->Mutex);
  codezero::observeShape(*IR, Ratios);
}

uint64_t Module::structuralHash() const {
  std::lock_guard Lock(Owner->Mutex);
  return StructuralHash(*withoutNames(*IR), /*DetailedHash=*/true);
}

std::vector<FunctionSummary> Module::functions() const {
  std::lock_guard Lock(Owner->Mutex);
  const auto Nameless = withoutNames(*IR);
  std::vector<FunctionSummary> Functions;
  for (const auto &[F, Same] : zip_equal(*IR, *Nameless))
    if (!F.isDeclaration())
      Functions.push_back(
          {F.getName().str(), StructuralHash(Same, /*DetailedHash=*/true),
           F.getInstructionCount(),
           F.isWeakForLinker() || F.hasAvailableExternallyLinkage()});
  return Functions;
}

std::map<std::string, uint64_t> Module::instructionCounts() const {
  std::lock_guard Lock(Owner->Mutex);
  std::map<std::string, uint64_t> Counts;
  for (const Function &F : *IR)
    if (!F.isDeclaration() && F.hasName())
      Counts[F.getName().str()] = F.getInstructionCount();
  return Counts;
}

std::vector<CallEdge> Module::callEdges() const {
  std::lock_guard Lock(Owner->Mutex);
  return codezero::callEdges(*IR);
}

std::vector<Inlinable> Module::inlinableFunctions() const {
  std::lock_guard Lock(Owner->Mutex);
  return codezero::inlinableFunctions(*IR);
}

std::map<std::string, uint64_t> Module::recursiveStacks() const {
  std::lock_guard Lock(Owner->Mutex);
  return codezero::recursiveStacks(*IR);
}

std::vector<std::string> Module::inlineDefinitions() const {
  std::lock_guard Lock(Owner->Mutex);
  const TargetLibraryInfoImpl Known(IR->getTargetTriple());
  const TargetLibraryInfo Libraries(Known);
  std::vector<std::string> Names;
  for (const Function &F : *IR) {
    LibFunc Function;
    // C++ has such bodies only of templates that are instantiated elsewhere.
    if (F.hasAvailableExternallyLinkage() && !F.getName().starts_with("_Z") &&
        !F.getName().starts_with("?") && !Libraries.getLibFunc(F, Function))
      Names.push_back(F.getName().str());
  }
  return Names;
}

std::vector<std::string> Module::undefinedFunctions() const {
  std::lock_guard Lock(Owner->Mutex);
  std::vector<std::string> Names;
  for (const Function &F : *IR)
    if (F.isDeclarationForLinker() && !F.isIntrinsic() && !F.use_empty())
      Names.push_back(F.getName().str());
  return Names;
}

bool Module::tellsFunctionSizes() const {
  std::lock_guard Lock(Owner->Mutex);
  return IR->getTargetTriple().isOSBinFormatELF();
}

// Code generation rewrites the IR: it gets a copy, in a context of its own.
static SmallVector<char, 0> generateFrom(const llvm::Module &M, Target &For,
                                         OutputKind Kind, bool &HasWarned) {
  Context CopyOwner;
  auto Copy = copyInto(CopyOwner.LLVM, M);
  auto Output = For.generateCode(*Copy, Kind);
  HasWarned |= CopyOwner.HasWarned;
  CopyOwner.throwReported<CodegenError>();
  return Output;
}

uint64_t Module::textSize(const CompileOptions &Options) const {
  return executableSize(generate(OutputKind::Object, Options));
}

uint64_t Module::loadedSize(const CompileOptions &Options) const {
  return codezero::loadedSize(generate(OutputKind::Object, Options));
}

std::string Module::generate(OutputKind Kind,
                             const CompileOptions &Options) const {
  std::lock_guard Lock(Owner->Mutex);
  std::string Error;
  auto For = Target::createOrReuse(*IR, Options, Error);
  if (!For)
    throw CodegenError(Error);
  auto Generated =
      codezero::toString(generateFrom(*IR, *For, Kind, Owner->HasWarned));
  Target::keep(std::move(For), *IR);
  return Generated;
}

bool Module::hasWarned() const {
  std::lock_guard Lock(Owner->Mutex);
  return Owner->HasWarned;
}

void Module::verify() const {
  std::lock_guard Lock(Owner->Mutex);
  codezero::verifyModule(*IR);
}

void Module::addSizeAttributes() {
  std::lock_guard Lock(Owner->Mutex);
  for (Function &F : *IR)
    if (!F.isDeclaration() && !F.hasOptNone()) {
      F.addFnAttr(Attribute::OptimizeForSize);
      F.addFnAttr(Attribute::MinSize);
    }
}

void Module::stripSizeAttributes() {
  std::lock_guard Lock(Owner->Mutex);
  for (const auto Kind : {Attribute::OptimizeForSize, Attribute::MinSize})
    for (Function &F : *IR) {
      F.removeFnAttr(Kind);
      // clang repeats a callee's attributes at its calls.
      for (Instruction &I : instructions(F))
        if (auto *Call = dyn_cast<CallBase>(&I))
          Call->removeFnAttr(Kind);
    }
}

// Whether a function may use its frame pointer's register for something else.
static bool mayUseFrameRegister(const Function &F) {
  static constexpr CallingConv::ID Usual[] = {CallingConv::C, CallingConv::Fast,
                                              CallingConv::Cold};
  return !is_contained(Usual, F.getCallingConv()) ||
         F.hasFnAttribute(Attribute::Naked) || hasAssembly(F);
}

bool Module::keepFramePointer(const std::string &Function) {
  std::lock_guard Lock(Owner->Mutex);
  llvm::Function &F = findDefinition(*IR, Function);
  constexpr StringLiteral Kind = "frame-pointer";
  const StringRef Now = F.getFnAttribute(Kind).getValueAsString();
  if ((Now != "" && Now != "none" && Now != "non-leaf") ||
      mayUseFrameRegister(F))
    return false;
  F.addFnAttr(Kind, "all");
  return true;
}

std::vector<bool> Module::chooseInlining(
    const std::vector<std::pair<std::string, bool>> &Choices) {
  std::lock_guard Lock(Owner->Mutex);
  SmallVector<InliningChoice> Found;
  for (const auto &[Name, Always] : Choices)
    Found.push_back({&findDefinition(*IR, Name), Always});
  auto Chosen = codezero::chooseInlining(*IR, Found);
  HasChosenInlining |= is_contained(Chosen, true);
  return Chosen;
}

void Module::forgetInlining() {
  std::lock_guard Lock(Owner->Mutex);
  if (HasChosenInlining)
    codezero::forgetInlining(*IR);
  HasChosenInlining = false;
}

std::string Module::bitcode() const {
  std::lock_guard Lock(Owner->Mutex);
  return codezero::toString(writeBitcode(*IR));
}

std::string Module::ir() const {
  std::lock_guard Lock(Owner->Mutex);
  std::string Text;
  raw_string_ostream Stream(Text);
  IR->print(Stream, /*AAW=*/nullptr);
  return Text;
}

std::string Module::name() const {
  std::lock_guard Lock(Owner->Mutex);
  return IR->getModuleIdentifier();
}

void Module::setSourceName(const std::string &Name) {
  std::lock_guard Lock(Owner->Mutex);
  IR->setModuleIdentifier(Name);
  IR->setSourceFileName(Name);
}

std::string Module::triple() const {
  std::lock_guard Lock(Owner->Mutex);
  return IR->getTargetTriple().str();
}

} // namespace codezero
