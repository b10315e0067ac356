#include "codegen.h"

#include "errors.h"
#include "properties.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/BinaryFormat/Magic.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/CodeGen/RegAllocRegistry.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/Archive.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/Transforms/ObjCARC.h"

#include <condition_variable>
#include <mutex>
#include <optional>

using namespace llvm;

namespace codezero {

#define CODEZERO_FOR_EACH_TARGET(DO)                                           \
  DO(X86) DO(AArch64) DO(ARM) DO(RISCV) DO(WebAssembly)

// A few programs at a time, each in the states that passes bring it to, or one
// on many cores.
static constexpr unsigned MostKeptTargets = 64;

// Options that targets set as they build their subtargets, and so set for every
// other target in the process: WebAssembly's jump tables have at least two
// entries, x86's four.
static const char *const TargetGlobals[] = {"min-jump-table-entries",
                                            "max-jump-table-size"};

static ArrayRef<cl::opt<unsigned> *> globals() {
  static const std::vector<cl::opt<unsigned> *> Options = [] {
    std::vector<cl::opt<unsigned> *> Found;
    for (const char *Name : TargetGlobals) {
      cl::Option *Option = cl::getRegisteredOptions().lookup(Name);
      if (!Option)
        throw LLVMError(std::string("LLVM has no option ") + Name);
      Found.push_back(static_cast<cl::opt<unsigned> *>(Option));
    }
    return Found;
  }();
  return Options;
}

static std::vector<unsigned> readGlobals() {
  std::vector<unsigned> Values;
  for (const cl::opt<unsigned> *Option : globals())
    Values.push_back(*Option);
  return Values;
}

static void writeGlobals(ArrayRef<unsigned> Values) {
  for (const auto &[Option, Value] : zip_equal(globals(), Values))
    *Option = Value;
}

namespace {

// The globals while they must stay what they are. Threads may hold them at the
// same time with the same values; with others they take turns.
class HeldGlobals {
public:
  explicit HeldGlobals(ArrayRef<unsigned> Values) {
    std::unique_lock Lock(shared().Mutex);
    shared().Free.wait(Lock, [&] {
      return shared().Holders == 0 || Values.equals(readGlobals());
    });
    if (shared().Holders++ == 0)
      writeGlobals(Values);
  }

  ~HeldGlobals() {
    std::lock_guard Lock(shared().Mutex);
    if (--shared().Holders == 0)
      shared().Free.notify_all();
  }

  HeldGlobals(const HeldGlobals &) = delete;
  HeldGlobals &operator=(const HeldGlobals &) = delete;

  // Held by one thread alone, with LLVM's defaults, which it may change.
  static std::unique_lock<std::mutex> lockDefaults() {
    std::unique_lock Lock(shared().Mutex);
    shared().Free.wait(Lock, [] { return shared().Holders == 0; });
    static const std::vector<unsigned> Defaults = readGlobals();
    writeGlobals(Defaults);
    return Lock;
  }

private:
  struct Shared {
    std::mutex Mutex;
    std::condition_variable Free;
    unsigned Holders = 0;
  };
  static Shared &shared() {
    static Shared S;
    return S;
  }
};

} // namespace

// Those that LLVM reads while passes are put together, in TargetPassConfig, and
// not while they run. Others would change nothing, or code for other programs.
static constexpr StringLiteral CodegenOptions[] = {
    "disable-block-placement",
    "disable-branch-fold",
    "disable-cgp",
    "disable-constant-hoisting",
    "disable-copyprop",
    "disable-early-taildup",
    "disable-lsr",
    "disable-machine-cse",
    "disable-machine-licm",
    "disable-machine-sink",
    "disable-peephole",
    "disable-postra-machine-licm",
    "disable-ssc",
    "disable-tail-duplicate",
    "enable-ipra",
    "enable-machine-outliner",
    "regalloc"};

static cl::Option &lookupOption(StringRef Name) {
  cl::Option *Found = is_contained(CodegenOptions, Name)
                          ? cl::getRegisteredOptions().lookup(Name)
                          : nullptr;
  if (!Found)
    throw LLVMError("no option '" + Name.str() +
                    "' of the code generator: choose of " +
                    join(ArrayRef(CodegenOptions), ", "));
  return *Found;
}

namespace {

// LLVM's options for the code generator while its passes are put together.
class HeldCodegenOptions {
public:
  explicit HeldCodegenOptions(ArrayRef<std::string> Options) {
    try {
      for (const StringRef Option : Options)
        set(Option);
    } catch (...) {
      reset();
      throw;
    }
  }
  ~HeldCodegenOptions() { reset(); }

  HeldCodegenOptions(const HeldCodegenOptions &) = delete;
  HeldCodegenOptions &operator=(const HeldCodegenOptions &) = delete;

private:
  using Allocator = cl::opt<RegisterRegAlloc::FunctionPassCtor, false,
                            RegisterPassParser<RegisterRegAlloc>>;

  void set(StringRef Text) {
    const auto [Name, Value] = Text.split('=');
    cl::Option &Option = lookupOption(Name);
    Set.push_back(&Option);
    if (Option.addOccurrence(/*pos=*/0, Name, Value))
      throw LLVMError("LLVM's option '" + Name.str() + "' takes no '" +
                      Value.str() + "'");
    // This one is read when it is first asked for, and never again.
    if (Name == "regalloc")
      RegisterRegAlloc::setDefault(static_cast<Allocator &>(Option).getValue());
  }

  void reset() {
    for (cl::Option *Option : Set) {
      Option->reset();
      if (Option->ArgStr == "regalloc")
        RegisterRegAlloc::setDefault(
            static_cast<Allocator &>(*Option).getValue());
    }
  }

  // There is one of each option in a process.
  std::lock_guard<std::mutex> Lock{mutex()};
  SmallVector<cl::Option *, 4> Set;

  static std::mutex &mutex() {
    static std::mutex M;
    return M;
  }
};

} // namespace

void checkCodegenOption(StringRef Option) {
  const std::string Text = Option.str();
  const HeldCodegenOptions Held(Text);
}

static void initializeTargets() {
  static std::once_flag Once;
  std::call_once(Once, [] {
#define INITIALIZE(Name)                                                       \
  LLVMInitialize##Name##TargetInfo();                                          \
  LLVMInitialize##Name##Target();                                              \
  LLVMInitialize##Name##TargetMC();                                            \
  LLVMInitialize##Name##AsmPrinter();                                          \
  LLVMInitialize##Name##AsmParser();
    CODEZERO_FOR_EACH_TARGET(INITIALIZE)
#undef INITIALIZE
  });
}

ArrayRef<const char *> codegenTargets() {
#define NAME(Name) #Name,
  static const char *const Names[] = {CODEZERO_FOR_EACH_TARGET(NAME)};
#undef NAME
  return Names;
}

// clang gives every function the CPU and features of the command line. What the
// passes add without them (outlined functions, constructors) must agree.
static const Function *firstDefinitionWithTarget(const Module &M) {
  for (const Function &F : M)
    if (!F.isDeclaration() && F.hasFnAttribute("target-cpu"))
      return &F;
  return nullptr;
}

// The code generator's passes, and what they write.
struct Target::Generator {
  SmallVector<char, 0> Output;
  raw_svector_ostream Stream{Output};
  legacy::PassManager Passes;
  TargetOptions Options;
};

Target::Target(std::unique_ptr<TargetMachine> Machine)
    : Machine(std::move(Machine)) {}

Target::~Target() = default;

std::shared_ptr<void> Target::holdGlobals() const {
  return std::make_shared<HeldGlobals>(Globals);
}

// Everything that create() goes by, but the code generator's own options, which
// change none of what subtargets do.
static std::string describe(const Module &M, const CompileOptions &Options);

namespace {

// What targets have made of the globals, by what they were created for.
struct KnownGlobals {
  std::mutex Mutex;
  StringMap<std::vector<unsigned>> ByDescription;

  std::optional<std::vector<unsigned>> lookup(StringRef Description) {
    std::lock_guard Lock(Mutex);
    const auto At = ByDescription.find(Description);
    if (At == ByDescription.end())
      return std::nullopt;
    return At->second;
  }
};

} // namespace

static KnownGlobals &knownGlobals() {
  static auto *Known = new KnownGlobals;
  return *Known;
}

static void buildSubtargets(const Module &M, const TargetMachine &Machine) {
  for (const Function &F : M)
    if (!F.isDeclaration())
      Machine.getSubtargetImpl(F);
}

std::unique_ptr<Target> Target::create(const Module &M,
                                       const CompileOptions &Options,
                                       std::string &Error) {
  initializeTargets();
  Triple TT = M.getTargetTriple();
  if (TT.getArch() == Triple::UnknownArch)
    TT = Triple(sys::getDefaultTargetTriple());
  const llvm::Target *T = TargetRegistry::lookupTarget(TT, Error);
  if (!T)
    return nullptr;

  std::string CPU, Features;
  if (const Function *F = firstDefinitionWithTarget(M)) {
    CPU = F->getFnAttribute("target-cpu").getValueAsString();
    Features = F->getFnAttribute("target-features").getValueAsString();
  }

  TargetOptions TargetOptions;
  TargetOptions.AllowFPOpFusion = FPOpFusion::Standard;
  TargetOptions.FunctionSections = Options.FunctionSections;
  TargetOptions.DataSections = Options.DataSections;
  TargetOptions.EmitAddrsig = Options.AddressSignificance;
  TargetOptions.UseInitArray = true;
  TargetOptions.EmulatedTLS = TT.hasDefaultEmulatedTLS();
  if (Options.FloatABI == "hard")
    TargetOptions.FloatABIType = FloatABI::Hard;
  else if (Options.FloatABI == "soft")
    TargetOptions.FloatABIType = FloatABI::Soft;
  if (const auto *ABI =
          dyn_cast_or_null<MDString>(M.getModuleFlag("target-abi")))
    TargetOptions.MCOptions.ABIName = ABI->getString();

  const auto Relocation =
      M.getPICLevel() == PICLevel::NotPIC ? Reloc::Static : Reloc::PIC_;
  // clang's code generation level for -O2, -Os and -Oz.
  std::unique_ptr<TargetMachine> Machine(
      T->createTargetMachine(TT, CPU, Features, TargetOptions, Relocation,
                             M.getCodeModel(), CodeGenOptLevel::Default));
  if (!Machine) {
    Error = "no code generator for target '" + TT.str() + "'";
    return nullptr;
  }

  // A function's subtarget is built when it is first asked for, and sets the
  // globals then. Built here, all of that is done: the first time on top of
  // LLVM's defaults, and then where they are what it makes them already, so
  // that threads that use such a target may go on.
  const std::string Description = describe(M, Options);
  std::unique_ptr<Target> Created(new Target(std::move(Machine)));
  if (const auto Known = knownGlobals().lookup(Description)) {
    HeldGlobals Held(*Known);
    buildSubtargets(M, *Created->Machine);
    Created->Globals = *Known;
  } else {
    const auto Lock = HeldGlobals::lockDefaults();
    buildSubtargets(M, *Created->Machine);
    Created->Globals = readGlobals();
    std::lock_guard KnownLock(knownGlobals().Mutex);
    knownGlobals().ByDescription[Description] = Created->Globals;
  }
  Created->Options = Created->Machine->Options;
  Created->Codegen = Options.Codegen;
  return Created;
}

std::unique_ptr<Target::Generator> Target::makeGenerator(OutputKind Kind) {
  auto Made = std::make_unique<Generator>();
  const HeldCodegenOptions Held(Codegen);
  Machine->Options = Options;
  Made->Passes.add(new TargetLibraryInfoWrapperPass(
      TargetLibraryInfoImpl(Machine->getTargetTriple())));
  // clang counts these among the code generator's passes.
  Made->Passes.add(createObjCARCContractPass());
  const auto FileType = Kind == OutputKind::Object
                            ? CodeGenFileType::ObjectFile
                            : CodeGenFileType::AssemblyFile;
  if (Machine->addPassesToEmitFile(Made->Passes, Made->Stream,
                                   /*DwoOut=*/nullptr, FileType,
                                   /*DisableVerify=*/true))
    throw CodegenError("target '" + Machine->getTargetTriple().str() +
                       "' cannot emit a file of this type");
  // Some of LLVM's options become the target's.
  Made->Options = Machine->Options;
  return Made;
}

SmallVector<char, 0> Target::generateCode(Module &M, OutputKind Kind) {
  HeldGlobals Held(Globals);
  // IR without a triple was given the host's target machine.
  M.setTargetTriple(Machine->getTargetTriple());
  if (M.getDataLayoutStr().empty())
    M.setDataLayout(Machine->createDataLayout());
  if (M.getDataLayout() != Machine->createDataLayout())
    throw CodegenError("the module's data layout is not that of target '" +
                       M.getTargetTriple().str() + "'");

  if (Kind == OutputKind::Assembly) {
    auto ForAssembly = makeGenerator(Kind);
    ForAssembly->Passes.run(M);
    return std::move(ForAssembly->Output);
  }
  if (!ForObjects)
    ForObjects = makeGenerator(Kind);
  Machine->Options = ForObjects->Options;
  ForObjects->Passes.run(M);
  return std::exchange(ForObjects->Output, {});
}

static bool hasStackProtector(const Function &F) {
  return F.hasFnAttribute(Attribute::StackProtect) ||
         F.hasFnAttribute(Attribute::StackProtectStrong) ||
         F.hasFnAttribute(Attribute::StackProtectReq);
}

// What LLVM remembers by the addresses of a module's values, and does not
// forget with it: which are in llvm.used, how functions collect garbage, and,
// in passes, where in the source they last were, and which variables the stack
// protector has to keep apart; and the symbols that numbered labels in assembly
// stand for, which MCContext::reset() leaves dangling.
// Looked for in the code generator for x86 and ELF only.
static bool isForgotten(const Module &M) {
  return M.getTargetTriple().isX86() &&
         M.getTargetTriple().isOSBinFormatELF() &&
         !M.getNamedGlobal("llvm.used") && !M.getNamedMetadata("llvm.dbg.cu") &&
         M.getModuleInlineAsm().empty() && none_of(M, [](const Function &F) {
           return F.hasGC() || hasAssembly(F) || hasStackProtector(F);
         });
}

static std::string describe(const Module &M, const CompileOptions &Options) {
  std::string Text;
  raw_string_ostream Stream(Text);
  Stream << M.getTargetTriple().str() << '|' << Options.FunctionSections
         << Options.DataSections << Options.AddressSignificance
         << Options.FloatABI << '|' << M.getPICLevel() << '|'
         << M.getOverrideStackAlignment() << '|';
  if (const auto Model = M.getCodeModel())
    Stream << *Model;
  if (const auto *ABI =
          dyn_cast_or_null<MDString>(M.getModuleFlag("target-abi")))
    Stream << '|' << ABI->getString();
  // Subtargets are made in this order, from attributes with these names.
  SmallDenseSet<AttributeSet> Seen;
  StringSet<> Described;
  for (const Function &F : M) {
    const AttributeSet Attributes = F.getAttributes().getFnAttrs();
    if (F.isDeclaration() || !Seen.insert(Attributes).second)
      continue;
    std::string Subtarget;
    for (const Attribute &A : Attributes)
      if (A.isStringAttribute())
        Subtarget += A.getAsString();
    if (Described.insert(Subtarget).second)
      Stream << '|' << Subtarget;
  }
  return Text;
}

namespace {

struct KeptTargets {
  std::mutex Mutex;
  // Several of one description, of threads that use them at the same time.
  StringMap<std::vector<std::unique_ptr<Target>>> ByDescription;
  unsigned Number = 0;
};

} // namespace

static KeptTargets &keptTargets() {
  // Never destroyed: LLVM's own globals, which targets need, may go first.
  static auto *Kept = new KeptTargets;
  return *Kept;
}

std::unique_ptr<Target> Target::createOrReuse(const Module &M,
                                              const CompileOptions &Options,
                                              std::string &Error) {
  std::string Description = describe(M, Options);
  for (const std::string &Option : Options.Codegen)
    Description += "|-" + Option;
  std::unique_ptr<Target> Found;
  {
    KeptTargets &Kept = keptTargets();
    std::lock_guard Lock(Kept.Mutex);
    const auto At = Kept.ByDescription.find(Description);
    if (At != Kept.ByDescription.end() && !At->second.empty()) {
      Found = std::move(At->second.back());
      At->second.pop_back();
      --Kept.Number;
    }
  }
  if (!Found)
    Found = create(M, Options, Error);
  if (Found)
    Found->Description = std::move(Description);
  return Found;
}

void Target::keep(std::unique_ptr<Target> Used, const Module &M) {
  if (!isForgotten(M))
    return;
  KeptTargets &Kept = keptTargets();
  std::lock_guard Lock(Kept.Mutex);
  if (Kept.Number == MostKeptTargets) {
    Kept.ByDescription.clear();
    Kept.Number = 0;
  }
  Kept.ByDescription[Used->Description].push_back(std::move(Used));
  ++Kept.Number;
}

static bool isThinBitcode(MemoryBufferRef File) {
  auto Contents = getBitcodeFileContents(File);
  if (!Contents) {
    consumeError(Contents.takeError());
    return false;
  }
  return any_of(Contents->Mods, [](BitcodeModule &Mod) {
    auto Info = Mod.getLTOInfo();
    if (!Info) {
      consumeError(Info.takeError());
      return false;
    }
    return Info->IsThinLTO && Info->HasSummary;
  });
}

bool isThinLTO(StringRef File) {
  const MemoryBufferRef Buffer(File, "file");
  if (!File.starts_with("!<arch>\n") && !File.starts_with("!<thin>\n"))
    return isThinBitcode(Buffer);
  Error Problem = Error::success();
  object::Archive Members(Buffer, Problem);
  bool IsThin = false;
  if (!Problem)
    for (const auto &Member : Members.children(Problem)) {
      auto Contents = Member.getMemoryBufferRef();
      if (Contents)
        IsThin |= isThinBitcode(*Contents);
      else
        consumeError(Contents.takeError());
    }
  consumeError(std::move(Problem));
  return IsThin;
}

std::vector<std::string> bitcodeMembers(const std::string &Path) {
  std::vector<std::string> Names;
  const auto File = MemoryBuffer::getFile(Path);
  if (!File)
    return Names;
  Error Problem = Error::success();
  object::Archive Members(**File, Problem);
  if (!Problem)
    for (const auto &Member : Members.children(Problem)) {
      auto Name = Member.getName();
      auto Contents = Member.getMemoryBufferRef();
      if (Name && Contents &&
          identify_magic(Contents->getBuffer()) == file_magic::bitcode)
        Names.push_back(Name->str());
      consumeError(Name.takeError());
      consumeError(Contents.takeError());
    }
  consumeError(std::move(Problem));
  return Names;
}

// Constants that have addresses in them, in code that may be loaded anywhere:
// the loader writes those, and reads a relocation for each.
static bool isRelocatedByLoader(const object::SectionRef &Relocations) {
  auto Relocated = Relocations.getRelocatedSection();
  if (!Relocated) {
    consumeError(Relocated.takeError());
    return false;
  }
  if (*Relocated == Relocations.getObject()->section_end())
    return false;
  auto Name = (*Relocated)->getName();
  if (!Name) {
    consumeError(Name.takeError());
    return false;
  }
  return Name->starts_with(".data.rel");
}

static bool isLoaded(const object::SectionRef &Section) {
  if (isa<object::ELFObjectFileBase>(Section.getObject()))
    return ((object::ELFSectionRef(Section).getFlags() & ELF::SHF_ALLOC) &&
            !Section.isVirtual()) ||
           isRelocatedByLoader(Section);
  return Section.isText() || (Section.isData() && !Section.isVirtual());
}

template <typename T> static T valueOf(Expected<T> Value) {
  if (!Value)
    throw CodegenError(toString(Value.takeError()));
  return std::move(*Value);
}

static std::unique_ptr<object::ObjectFile> readObject(StringRef Bytes) {
  return valueOf(
      object::ObjectFile::createObjectFile(MemoryBufferRef(Bytes, "object")));
}

static uint64_t sizeOf(StringRef Object,
                       function_ref<bool(const object::SectionRef &)> Counts) {
  const auto File = readObject(Object);
  uint64_t Size = 0;
  for (const object::SectionRef &Section : File->sections())
    if (Counts(Section))
      Size += Section.getSize();
  return Size;
}

uint64_t executableSize(StringRef Object) {
  return sizeOf(Object, [](const auto &Section) { return Section.isText(); });
}

uint64_t loadedSize(StringRef Object) { return sizeOf(Object, isLoaded); }

namespace {

// Where something is in an object.
using Place = std::pair<uint64_t, uint64_t>; // section, offset

} // namespace

static uint32_t read32(const object::ELFObjectFileBase &File,
                       StringRef Contents, uint64_t At) {
  return support::endian::read32(Contents.data() + At, File.isLittleEndian()
                                                           ? endianness::little
                                                           : endianness::big);
}

// What a relocation refers to. Where it has no addend of its own, that is what
// it is to change.
static std::optional<Place>
relocatedPlace(const object::ELFObjectFileBase &File,
               const object::RelocationRef &Relocation, StringRef Contents) {
  const object::symbol_iterator Symbol = Relocation.getSymbol();
  if (Symbol == File.symbol_end())
    return std::nullopt;
  const auto Section = valueOf(Symbol->getSection());
  if (Section == File.section_end())
    return std::nullopt;
  int64_t Addend = 0;
  if (auto Own = object::ELFRelocationRef(Relocation).getAddend())
    Addend = *Own;
  else {
    consumeError(Own.takeError());
    Addend = read32(File, Contents, Relocation.getOffset());
  }
  return Place(Section->getIndex(), valueOf(Symbol->getValue()) + Addend);
}

// Bytes of the entries in .eh_frame, by where the functions are that they
// describe. The format is that of the Linux Standard Base, "Exception Frames";
// what is none of it counts for nothing.
static std::map<Place, uint64_t>
unwindSizes(const object::ELFObjectFileBase &File) {
  std::map<Place, uint64_t> Sizes;
  for (const object::ELFSectionRef Relocations : File.sections()) {
    const auto Frames = valueOf(Relocations.getRelocatedSection());
    if (Frames == File.section_end() ||
        valueOf(Frames->getName()) != ".eh_frame")
      continue;
    const StringRef Contents = valueOf(Frames->getContents());
    std::map<uint64_t, Place> Described;
    for (const object::RelocationRef &Each : Relocations.relocations())
      if (Contents.size() >= 4 && Each.getOffset() <= Contents.size() - 4)
        if (const auto Where = relocatedPlace(File, Each, Contents))
          Described[Each.getOffset()] = *Where;
    // A length; 0 or how far back the common entry is; the function's address.
    constexpr uint64_t ToFunction = 8;
    for (uint64_t At = 0; At + ToFunction < Contents.size();) {
      const uint64_t Length = 4 + uint64_t(read32(File, Contents, At));
      const auto Of = Described.find(At + ToFunction);
      if (read32(File, Contents, At + 4) != 0 && Of != Described.end())
        Sizes[Of->second] += Length;
      At += Length;
    }
  }
  return Sizes;
}

std::map<std::string, uint64_t> functionSizes(StringRef Object,
                                              bool WithUnwindTables) {
  const auto File = readObject(Object);
  std::map<std::string, uint64_t> Sizes;
  const auto *ELF = dyn_cast<object::ELFObjectFileBase>(File.get());
  if (!ELF)
    return Sizes;
  std::map<Place, uint64_t> Unwinding;
  if (WithUnwindTables)
    Unwinding = unwindSizes(*ELF);
  for (const object::ELFSymbolRef Symbol : ELF->symbols()) {
    const auto Section = valueOf(Symbol.getSection());
    if (Symbol.getELFType() != ELF::STT_FUNC || Section == ELF->section_end())
      continue;
    const Place Where(Section->getIndex(), valueOf(Symbol.getValue()));
    const auto Tables = Unwinding.find(Where);
    Sizes[valueOf(Symbol.getName()).str()] =
        Symbol.getSize() + (Tables == Unwinding.end() ? 0 : Tables->second);
  }
  return Sizes;
}

} // namespace codezero
