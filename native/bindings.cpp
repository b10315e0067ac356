// The Python face of this library: names, types, docstrings. No logic.

#include "module.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "llvm/ADT/Hashing.h"
#include "llvm/Config/llvm-config.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace codezero;

namespace {

using WithoutGIL = nb::call_guard<nb::gil_scoped_release>;

std::string_view view(const nb::bytes &Bytes) {
  return {Bytes.c_str(), Bytes.size()};
}

nb::bytes toBytes(const std::string &Bytes) {
  return nb::bytes(Bytes.data(), Bytes.size());
}

using Numbers = std::map<std::string, uint64_t>;

// A name, which LLVM takes for bytes; null where it is not UTF-8.
nb::object toText(const std::string &Name) {
  auto Text = nb::steal(
      PyUnicode_DecodeUTF8(Name.data(), Name.size(), /*errors=*/nullptr));
  if (!Text)
    PyErr_Clear();
  return Text;
}

// By names; those that are not UTF-8 are left out.
nb::dict toDict(const Numbers &ByName) {
  nb::dict Dict;
  for (const auto &[Name, Number] : ByName)
    if (const auto Text = toText(Name))
      Dict[Text] = Number;
  return Dict;
}

// What a method tells of functions, by their names.
template <auto Method> nb::dict numbersBy(const Module &Self) {
  Numbers ByName;
  {
    nb::gil_scoped_release Release;
    ByName = (Self.*Method)();
  }
  return toDict(ByName);
}

nb::list toList(const std::vector<std::string> &Names) {
  nb::list List;
  for (const std::string &Name : Names)
    if (const auto Text = toText(Name))
      List.append(Text);
  return List;
}

nb::list toList(const std::vector<CallEdge> &Edges) {
  nb::list List;
  for (const CallEdge &Edge : Edges) {
    const auto Caller = toText(Edge.Caller), Callee = toText(Edge.Callee);
    if (Caller && Callee)
      List.append(nb::make_tuple(Caller, Callee, Edge.Calls));
  }
  return List;
}

using Fields = std::tuple<bool, bool, bool, bool, bool, bool, bool, std::string,
                          std::vector<std::string>>;

Fields fields(const CompileOptions &O) {
  return {O.SLPVectorize,        O.VectorizeLoops,   O.UnrollLoops,
          O.MergeFunctions,      O.FunctionSections, O.DataSections,
          O.AddressSignificance, O.FloatABI,         O.Codegen};
}

nb::object raisable(nb::handle Type, const ParseError &E) {
  nb::object Exception = Type(E.what());
  Exception.attr("line") = E.Line;
  Exception.attr("column") = E.Column;
  return Exception;
}

void defineErrors(nb::module_ &M) {
  static nb::handle ParseErrorType;
  nb::object Base = nb::exception<LLVMError>(M, "LLVMError");
  Base.attr("__doc__") = "An error from LLVM, in LLVM's own words.";
  nb::exception<VerificationError>(M, "VerificationError", Base)
      .attr("__doc__") = "IR that LLVM's verifier rejects.";
  nb::exception<PipelineError>(M, "PipelineError", Base).attr("__doc__") =
      "Pipeline text that LLVM does not accept.";
  nb::exception<CodegenError>(M, "CodegenError", Base).attr("__doc__") =
      "A target without a code generator in this build, or one that failed.";
  nb::object Parse = nb::exception<ParseError>(M, "ParseError", Base);
  Parse.attr("__doc__") =
      "Bytes that are neither bitcode nor textual IR.\n\n"
      "``line`` and ``column`` count from 1; both are 0 for bitcode.";
  ParseErrorType = Parse.release();
  nb::register_exception_translator([](const std::exception_ptr &P, void *) {
    try {
      std::rethrow_exception(P);
    } catch (const ParseError &E) {
      nb::object Exception = raisable(ParseErrorType, E);
      PyErr_SetObject(ParseErrorType.ptr(), Exception.ptr());
    }
  });
}

} // namespace

NB_MODULE(_native, M) {
  M.doc() =
      "LLVM in the process: one module in memory, the passes, the features.";
  M.attr("LLVM_VERSION") = LLVM_VERSION_STRING;
  M.attr("SOURCES") = CODEZERO_SOURCES;
  nb::list ShapeFeatures;
  for (const std::string &Name : shapeFeatures())
    ShapeFeatures.append(Name);
  M.attr("SHAPE_FEATURES") = nb::tuple(ShapeFeatures);
  nb::list Targets;
  for (const char *Name : codegenTargets())
    Targets.append(Name);
  M.attr("TARGETS") = nb::tuple(Targets);
  defineErrors(M);

  const CompileOptions Defaults;
  nb::class_<CompileOptions>(
      M, "CompileOptions",
      "What compiler flags say to clang's optimiser and code generator, and "
      "the IR\n"
      "does not. The defaults are those of ``clang -Oz``.")
      .def(
          "__init__",
          [](CompileOptions *Self, bool SLPVectorize, bool VectorizeLoops,
             bool UnrollLoops, bool MergeFunctions, bool FunctionSections,
             bool DataSections, bool AddressSignificance, std::string FloatABI,
             std::vector<std::string> Codegen) {
            new (Self) CompileOptions{
                SLPVectorize,        VectorizeLoops,      UnrollLoops,
                MergeFunctions,      FunctionSections,    DataSections,
                AddressSignificance, std::move(FloatABI), std::move(Codegen)};
          },
          nb::kw_only(), "slp_vectorize"_a = Defaults.SLPVectorize,
          "vectorize_loops"_a = Defaults.VectorizeLoops,
          "unroll_loops"_a = Defaults.UnrollLoops,
          "merge_functions"_a = Defaults.MergeFunctions,
          "function_sections"_a = Defaults.FunctionSections,
          "data_sections"_a = Defaults.DataSections,
          "address_significance"_a = Defaults.AddressSignificance,
          "float_abi"_a = Defaults.FloatABI, "codegen"_a = Defaults.Codegen)
      .def_ro("slp_vectorize", &CompileOptions::SLPVectorize, "-fslp-vectorize")
      .def_ro("vectorize_loops", &CompileOptions::VectorizeLoops, "-fvectorize")
      .def_ro("unroll_loops", &CompileOptions::UnrollLoops, "-funroll-loops")
      .def_ro("merge_functions", &CompileOptions::MergeFunctions,
              "-fmerge-functions")
      .def_ro("function_sections", &CompileOptions::FunctionSections,
              "-ffunction-sections")
      .def_ro("data_sections", &CompileOptions::DataSections, "-fdata-sections")
      .def_ro("address_significance", &CompileOptions::AddressSignificance,
              "-faddrsig")
      .def_ro("float_abi", &CompileOptions::FloatABI,
              "ARM's -mfloat-abi: 'soft', 'hard', or '' for the triple's own")
      .def_prop_ro(
          "codegen",
          [](const CompileOptions &O) {
            return nb::tuple(nb::cast(O.Codegen));
          },
          "LLVM's own options for the code generator, as ``llc`` and ``clang "
          "-mllvm`` take\nthem after the dash.")
      .def(
          "with_codegen",
          [](CompileOptions O, std::vector<std::string> Codegen) {
            O.Codegen = std::move(Codegen);
            return O;
          },
          "codegen"_a, "The same with other options for the code generator.")
      .def("__eq__", [](const CompileOptions &A,
                        const CompileOptions &B) { return A == B; })
      .def(
          "__hash__",
          [](const CompileOptions &O) { return nb::hash(nb::cast(fields(O))); })
      .def("__getstate__", &fields)
      .def("__setstate__", [](CompileOptions &O, const Fields &State) {
        new (&O) CompileOptions(std::make_from_tuple<CompileOptions>(State));
      });

  nb::class_<FunctionSummary>(M, "FunctionSummary",
                              "What a module knows of a function.")
      .def_ro("name", &FunctionSummary::Name)
      .def_ro("structural_hash", &FunctionSummary::StructuralHash,
              "64-bit hash of its structure, all names left out.")
      .def_ro("instructions", &FunctionSummary::Instructions)
      .def_ro("is_shared", &FunctionSummary::IsShared,
              "Whether several objects may have a copy of it, as of C++ "
              "templates and\ninline functions, or of what a library has.");

  nb::class_<Module>(
      M, "Module",
      "One LLVM module in memory.\n\n"
      "Analyses stay cached between calls of `run` and are invalidated only "
      "by\n"
      "what the passes report. All methods release the GIL; threads that call\n"
      "one module take turns. What LLVM answers with abort() ends the "
      "process:\n"
      "bitcode and passes that may do so belong in another one "
      "(`codezero.env`).")
      .def_static(
          "parse",
          [](nb::bytes Data, const std::string &Name) {
            const std::string_view Bytes = view(Data);
            nb::gil_scoped_release Release;
            return Module::parse(Bytes, Name);
          },
          "data"_a, "name"_a = "<module>",
          "Read and verify bitcode (of this or an older LLVM) or textual "
          "IR.\n\n"
          "Raises `ParseError`, `VerificationError`.")
      .def_static("link", &Module::link, WithoutGIL(), "modules"_a,
                  "name"_a = "<linked>",
                  "Link modules into a new one. Raises `LLVMError`.")
      .def("clone", &Module::clone, WithoutGIL(),
           "An independent copy, without the cached analyses, that passes and "
           "the\n"
           "code generator treat as they would treat the original.")
      .def(
          "extract", &Module::extract, WithoutGIL(), "functions"_a,
          "Functions as a module of their own, in which all others are only\n"
          "declared. The code that is generated for them is the same there.\n\n"
          "Raises `LLVMError` if there is no such function, it has no body, "
          "or no\n"
          "code is generated for it.")
      .def("warm_up", &Module::warmUp, WithoutGIL(),
           "Set up what the first `run` needs, so that its time is that of its "
           "passes.")
      .def("run", &Module::run, WithoutGIL(), "pipeline"_a,
           "Run passes, as ``opt -passes=`` takes them. Returns whether they\n"
           "report a change; False means that the IR is as it was.\n\n"
           "Raises `PipelineError` (and runs nothing) for text LLVM rejects.")
      .def("run_on", &Module::runOn, WithoutGIL(), "pipeline"_a, "function"_a,
           "As `run`, for a pipeline of the form ``function(...)``, on one "
           "function.\n\n"
           "Raises `PipelineError` for another, `LLVMError` for a function "
           "without a body.")
      .def("run_verified", &Module::runVerified, WithoutGIL(), "pipeline"_a,
           "As `run`, but if the passes leave IR that does not verify, the "
           "module is\n"
           "put back to what it was, and False is returned.")
      .def("run_merging", &Module::runMerging, WithoutGIL(), "pipeline"_a,
           "merges"_a, "verify"_a = false,
           "As `run`, or `run_verified`, for a pass that makes one of several "
           "``regions`` of\n"
           "code or ``functions``. It compares less than what they promise "
           "(no overflow, a\n"
           "range, what may alias): what is left promises no more than each "
           "of them did.\n\n"
           "Raises `LLVMError` for anything else that merges.")
      .def("run_clang_oz", &Module::runClangOz, WithoutGIL(),
           "options"_a = CompileOptions(),
           "Run what ``clang -Oz`` runs between front end and code generation.")
      .def("explicit_nesting", &Module::explicitNesting, WithoutGIL(),
           "pipeline"_a,
           "The pipeline with its nesting written out, so that several can be\n"
           "joined by commas: ``licm`` is ``function(loop-mssa(licm))``.\n\n"
           "Raises `PipelineError`.")
      .def("satisfies", &Module::satisfies, WithoutGIL(), "property"_a,
           "Whether a property holds that some passes need to be sound:\n"
           "``uniform-target``, ``no-frame-intrinsics`` or ``no-sections``.\n\n"
           "Raises `LLVMError` for any other name.")
      .def_prop_ro("pass_seconds", &Module::passSeconds, WithoutGIL(),
                   "Wall time that `run` has spent in LLVM, in seconds.")
      .def("instruction_count", &Module::instructionCount, WithoutGIL(),
           "Number of IR instructions, over all functions.")
      .def(
          "autophase",
          [](Module &Self) {
            auto *Features = new AutophaseFeatures;
            {
              nb::gil_scoped_release Release;
              *Features = Self.autophase();
            }
            nb::capsule Owner(Features, [](void *P) noexcept {
              delete static_cast<AutophaseFeatures *>(P);
            });
            return nb::ndarray<nb::numpy, int64_t,
                               nb::shape<NumAutophaseFeatures>>(
                Features->data(), {NumAutophaseFeatures}, Owner);
          },
          "The 56 Autophase features of the paper's Table B1, int64, shape "
          "(56,).")
      .def(
          "observe",
          [](Module &Self, nb::ndarray<float, nb::shape<NumAutophaseFeatures>,
                                       nb::c_contig, nb::device::cpu>
                               Ratios) {
            nb::gil_scoped_release Release;
            return Self.observe(std::span<float, NumAutophaseFeatures>(
                Ratios.data(), NumAutophaseFeatures));
          },
          nb::arg("out").noconvert(),
          "Write the Autophase features over the instruction count to "
          "``out``,\n"
          "float32, shape (56,). Returns the instruction count.")
      .def(
          "observe_shape",
          [](const Module &Self, nb::ndarray<float, nb::shape<NumShapeFeatures>,
                                             nb::c_contig, nb::device::cpu>
                                     Ratios) {
            nb::gil_scoped_release Release;
            Self.observeShape(std::span<float, NumShapeFeatures>(
                Ratios.data(), NumShapeFeatures));
          },
          nb::arg("out").noconvert(),
          "Write what the program is made of to ``out``, float32, shape\n"
          "(len(SHAPE_FEATURES),): opcodes, types, operands, calls, functions, "
          "and how\n"
          "much of it is there twice, each over the instruction count.")
      .def("text_size", &Module::textSize, WithoutGIL(),
           "options"_a = CompileOptions(),
           "Bytes of executable sections after code generation for the "
           "module's\n"
           "own target. The module stays as it is.\n\nRaises `CodegenError`.")
      .def("loaded_size", &Module::loadedSize, WithoutGIL(),
           "options"_a = CompileOptions(),
           "The same of all sections that are loaded; see `loaded_size`.")
      .def("structural_hash", &Module::structuralHash, WithoutGIL(),
           "64-bit hash of the module's structure, all names left out.")
      .def("functions", &Module::functions, WithoutGIL(),
           "A `FunctionSummary` of each function with a body.")
      .def_prop_ro("tells_function_sizes", &Module::tellsFunctionSizes,
                   WithoutGIL(),
                   "Whether `function_sizes` has something to say of objects "
                   "for the target.")
      .def("instruction_counts", &numbersBy<&Module::instructionCounts>,
           "Number of IR instructions by function, those that have no body or "
           "no name\n"
           "left out, and those whose name is not UTF-8.")
      .def(
          "call_edges",
          [](const Module &Self) {
            std::vector<CallEdge> Edges;
            {
              nb::gil_scoped_release Release;
              Edges = Self.callEdges();
            }
            return toList(Edges);
          },
          "Direct calls among functions with bodies: (caller, callee, how "
          "many), in the\n"
          "order of the module. Left out is what has no name, or one that is "
          "not UTF-8.")
      .def("recursive_stacks", &numbersBy<&Module::recursiveStacks>,
           "Bytes on the stack of functions that come to call themselves, by "
           "direct calls: of\n"
           "those that have more than LLVM's inliners give any of them, which "
           "is 1,024.")
      .def(
          "inlinable_functions",
          [](const Module &Self) {
            std::vector<Inlinable> Found;
            {
              nb::gil_scoped_release Release;
              Found = Self.inlinableFunctions();
            }
            nb::dict Functions;
            for (const Inlinable &Each : Found)
              if (const auto Name = toText(Each.Function))
                Functions[Name] =
                    nb::make_tuple(Each.MayAlways, Each.MayNever,
                                   Each.Disappears, Each.IsShared);
            return Functions;
          },
          "Functions that `choose_inlining` can be told of, by their names: "
          "whether it may be\n"
          "told always, and never, and whether nothing is left of one where "
          "all its calls are\n"
          "inlined: no other object counts on it, and nothing has its "
          "address. And whether\n"
          "other objects may have a copy of it, as of C++'s inline functions.")
      .def(
          "inline_definitions",
          [](const Module &Self) { return toList(Self.inlineDefinitions()); },
          "Names of functions that have a body to be inlined and nothing "
          "else, as C's\n"
          "``inline`` has it: one of the same name is to be in another file, "
          "and is not,\n"
          "where someone forgot it. Those of C's library and of C++ are left "
          "out.")
      .def(
          "undefined_functions",
          [](const Module &Self) { return toList(Self.undefinedFunctions()); },
          "Names of functions that are referred to, and have to be in another "
          "file.")
      .def("verify", &Module::verify, WithoutGIL(),
           "Raises `VerificationError` if the IR is broken.")
      .def("add_size_attributes", &Module::addSizeAttributes, WithoutGIL(),
           "Mark each function optsize and minsize, as ``clang -Oz`` does.")
      .def("strip_size_attributes", &Module::stripSizeAttributes, WithoutGIL(),
           "Remove optsize and minsize from each function.")
      .def("keep_frame_pointer", &Module::keepFramePointer, WithoutGIL(),
           "function"_a,
           "Have a function's frame be found by a register of its own, as\n"
           "``-fno-omit-frame-pointer`` does. Returns whether that is new; it "
           "is not done\n"
           "where the function may use the register for something else.\n\n"
           "Raises `LLVMError` where it has no body.")
      .def("choose_inlining", &Module::chooseInlining, WithoutGIL(),
           "choices"_a,
           "Have inliners inline all calls of a function that they can, or "
           "none, whatever that\n"
           "costs, until `forget_inlining`: (function, whether all) for each. "
           "Returns for each\n"
           "whether that is so: it is not where whoever wrote it has said the "
           "one or the\n"
           "other, it has been chosen before, or not every function could take "
           "in its code.\n\n"
           "Raises `LLVMError` for a function without a body.")
      .def("forget_inlining", &Module::forgetInlining, WithoutGIL(),
           "Undo `choose_inlining`, for what has not been inlined.")
      .def(
          "bitcode",
          [](const Module &Self) {
            std::string Bytes;
            {
              nb::gil_scoped_release Release;
              Bytes = Self.bitcode();
            }
            return toBytes(Bytes);
          },
          "The module as bitcode, use-list order kept.")
      .def("ir", &Module::ir, WithoutGIL(), "The module as textual IR.")
      .def(
          "object",
          [](Module &Self, const CompileOptions &Options) {
            std::string Bytes;
            {
              nb::gil_scoped_release Release;
              Bytes = Self.generate(OutputKind::Object, Options);
            }
            return toBytes(Bytes);
          },
          "options"_a = CompileOptions(),
          "The module as an object file for its own target.\n\n"
          "Raises `CodegenError`.")
      .def(
          "assembly",
          [](Module &Self, const CompileOptions &Options) {
            return Self.generate(OutputKind::Assembly, Options);
          },
          WithoutGIL(), "options"_a = CompileOptions(),
          "The module as assembly text. Raises `CodegenError`.")
      .def("set_source_name", &Module::setSourceName, WithoutGIL(), "name"_a,
           "Name the module and the source file it was made from, which is\n"
           "otherwise the path that the compiler was given.")
      .def_prop_ro(
          "has_warned", &Module::hasWarned, WithoutGIL(),
          "Whether LLVM has warned of something in it: passes or code\n"
          "generation.")
      .def_prop_ro("name", &Module::name, WithoutGIL())
      .def_prop_ro("triple", &Module::triple, WithoutGIL())
      .def("__repr__", [](const Module &Self) {
        return "<Module '" + Self.name() + "', " +
               std::to_string(Self.instructionCount()) + " instructions>";
      });

  M.def(
      "check_codegen_option",
      [](const std::string &Option) { checkCodegenOption(Option); },
      WithoutGIL(), "option"_a,
      "Raises `LLVMError` where there is no such option, or not of such a "
      "value; see\n`CompileOptions.codegen`.");

  M.def(
      "is_thin_lto",
      [](nb::bytes File) {
        const std::string_view Bytes = view(File);
        nb::gil_scoped_release Release;
        return isThinLTO(llvm::StringRef(Bytes.data(), Bytes.size()));
      },
      "file"_a,
      "Whether bitcode, or a member of an archive, is for ThinLTO. False for "
      "anything else.");

  M.def("bitcode_members", &bitcodeMembers, WithoutGIL(), "archive"_a,
        "Names of those members of an archive, a path, that are bitcode. None "
        "of what is\n"
        "no archive, or cannot be read.");

  const auto DefineSize = [&](const char *Name,
                              uint64_t (*Size)(llvm::StringRef),
                              const char *Doc) {
    M.def(
        Name,
        [Size](nb::bytes Object) {
          const std::string_view Bytes = view(Object);
          nb::gil_scoped_release Release;
          return Size(llvm::StringRef(Bytes.data(), Bytes.size()));
        },
        "object"_a, Doc);
  };
  DefineSize("executable_size", executableSize,
             "Bytes in the executable sections of an object file.\n\n"
             "Raises `CodegenError` for bytes that are no object file.");
  DefineSize("loaded_size", loadedSize,
             "Bytes in those sections of an object file that are loaded and "
             "have contents:\n"
             "code, constants with the relocations that a loader reads for "
             "them, first values\n"
             "of variables, tables to unwind by.\n\nRaises `CodegenError` for "
             "bytes that are no object file.");
  M.def(
      "function_sizes",
      [](nb::bytes Object, bool WithUnwindTables) {
        const std::string_view Bytes = view(Object);
        Numbers Sizes;
        {
          nb::gil_scoped_release Release;
          Sizes = functionSizes(llvm::StringRef(Bytes.data(), Bytes.size()),
                                WithUnwindTables);
        }
        return toDict(Sizes);
      },
      "object"_a, "with_unwind_tables"_a = false,
      "Bytes of each function in an object file, by its symbol: of its code, "
      "and, if they\n"
      "are wanted, of its entries in the tables to unwind by. None where the "
      "format does\n"
      "not tell, as ELF does, nor for names that are not UTF-8.\n\n"
      "Raises `CodegenError` for bytes that are no object file.");
}
