"""Pass spaces: the passes an agent or a search may choose from, as data.

A space is a TOML file::

    name = "mine"
    description = "what it is for"

    [[pass]]
    name = "simplifycfg"              # unique; what results and logs show
    pipeline = "function(simplifycfg)"  # LLVM's pipeline text; nesting is inferred if left out
    sound = true                      # false if it may change what a program does
    reason = "why it preserves behaviour"
    requires = ["uniform-target"]     # properties without which the pass is skipped
    merges = "regions"                # or "functions": what it makes one of, see `Pass.merges`
    verify = true                     # undo the pass where it leaves IR that does not verify
    slow = true                       # trades running time for size: left out by --keep-speed

    [[pass]]
    name = "tidy"
    passes = ["sroa", "simplifycfg"]  # a list, of passes that come before it, as one action

    [[option]]                        # of the code generator, which may be other than clang's
    name = "no-licm"
    option = "disable-machine-licm"   # LLVM's, as `llc` takes it; see `CompileOptions.codegen`
    sound = true                      # these as above
    reason = "why"
    requires = []
    slow = true

    [[codegen]]                       # a way to generate code that may be tried after the passes
    options = ["no-licm"]             # names of options; those are left out that are not sound

Two spaces come with the package: ``autophase``, the paper's 42 passes, and ``sound``, the default.
"""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from codezero._native import LLVMError, Module, PipelineError, check_codegen_option
from codezero.errors import SpaceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_SPACE = "sound"
BUILT_IN_SPACES = ("sound", "autophase")
PASS_KEYS = {"name", "pipeline", "sound", "reason", "requires", "merges", "verify", "slow"}
OPTION_KEYS = {"name", "option", "sound", "reason", "requires", "slow"}
CODEGEN_KEYS = {"options"}
MERGES = ("", "regions", "functions")
LIST_KEYS = {"name", "passes", "reason"}
MAX_DEPTH = 50
"""Of nesting in a pipeline: LLVM's parser recurses, and its levels are six."""


@dataclass(frozen=True)
class Pass:
    """One action: a pass, or a list of passes."""

    name: str
    pipeline: str
    """LLVM's pipeline text, nesting written out, so that any two can be joined by a comma."""
    sound: bool
    reason: str
    requires: tuple[str, ...] = ()
    """Properties of a module (`Module.satisfies`) without which the pass is not sound."""
    merges: str = ""
    """What the pass makes one of, "regions" or "functions", if it does not compare all that they
    promise: what is left then is made to promise no more than each (`Module.run_merging`)."""
    verify: bool = False
    """The pass is known to leave broken IR now and then: look, and undo it if so."""
    slow: bool = False
    """It makes programs smaller by making them slower."""
    parts: tuple[Pass, ...] = ()
    """Of a list: its passes. What is required and verified is then for each of them by itself."""

    @property
    def is_whole(self) -> bool:
        """Whether it is many passes by itself: one of LLVM's own -O pipelines, or a list."""
        return bool(self.parts) or self.pipeline.startswith("default<")

    @functools.cached_property
    def is_by_function(self) -> bool:
        """Whether it works on one function at a time, so that `run_on` may run it on one alone."""
        if self.parts:
            return all(part.is_by_function for part in self.parts)
        return not (self.verify or self.merges) and _is_one_adaptor(self.pipeline, "function")

    def run(self, module: Module) -> bool:
        """Run the pass. Returns whether the module changed.

        It does not where the pass is not sound (``requires``), nor where the pass broke it
        (``verify``): the module is then as it was.
        """
        if self.parts:
            changes = [part.run(module) for part in self.parts]
            return any(changes)
        if not self._is_sound_on(module):
            return False
        if self.merges:
            return module.run_merging(self.pipeline, self.merges, self.verify)
        return module.run_verified(self.pipeline) if self.verify else module.run(self.pipeline)

    def run_on(self, module: Module, function: str) -> bool:
        """Run the pass, one that is by function, on one function. Returns whether it changed.

        Raises:
            LLVMError: there is no such function, or it has no body.
        """
        if self.parts:
            changes = [part.run_on(module, function) for part in self.parts]
            return any(changes)
        return self._is_sound_on(module) and module.run_on(self.pipeline, function)

    def _is_sound_on(self, module: Module) -> bool:
        return _satisfies(module, self.requires)


@dataclass(frozen=True)
class CodegenOption:
    """An option of LLVM's code generator that clang does not set."""

    name: str
    option: str
    """LLVM's ``NAME`` or ``NAME=VALUE``; see `CompileOptions.codegen`."""
    sound: bool
    reason: str
    requires: tuple[str, ...] = ()
    """Properties of a module without which it is not sound."""
    slow: bool = False
    """It makes programs smaller by making them slower."""


Codegen: TypeAlias = "tuple[CodegenOption, ...]"
"""A way to generate code: not an action, but a choice when the passes are chosen."""


def _satisfies(module: Module, properties: Iterable[str]) -> bool:
    return all(module.satisfies(name) for name in properties)


@dataclass(frozen=True)
class PassSpace:
    """An ordered set of passes; an action is an index into it."""

    name: str
    description: str
    passes: tuple[Pass, ...]
    codegen: tuple[Codegen, ...] = ()
    """Ways to generate code, other than clang's, that may be tried."""
    keeps_speed: bool = False
    """Whether what makes programs slower has been left out."""

    def __len__(self) -> int:
        return len(self.passes)

    def pipeline(self, actions: Sequence[int]) -> str:
        """The text that makes ``opt -passes=`` run these actions in order."""
        return ",".join(self.passes[action].pipeline for action in actions)

    def names(self, actions: Sequence[int]) -> list[str]:
        return [self.passes[action].name for action in actions]

    @property
    def unsound(self) -> list[str]:
        """Names of what may change what a program does."""
        names = [each.name for each in self.passes if not each.sound]
        return names + [each.name for each in self.codegen_options.values() if not each.sound]

    def keeping_speed(self) -> PassSpace:
        """What does not make programs slower.

        Raises:
            SpaceError: there are none.
        """
        passes = tuple(p for p in self.passes if not p.slow)
        if not passes:
            raise SpaceError(f"space '{self.name}' has no pass that keeps speed")
        codegen = (tuple(o for o in options if not o.slow) for options in self.codegen)
        left = tuple(dict.fromkeys(filter(None, codegen)))
        return replace(self, passes=passes, codegen=left, keeps_speed=True)

    @functools.cached_property
    def codegen_options(self) -> dict[str, CodegenOption]:
        """Those of the ways to generate code, by name."""
        return {option.name: option for each in self.codegen for option in each}

    def codegen_option(self, name: str) -> CodegenOption:
        """Raises `SpaceError` where no way to generate code has it."""
        option = self.codegen_options.get(name)
        if option is None:
            raise SpaceError(
                f"space '{self.name}' has no option '{name}' for the code generator, or it is slow "
                f"and speed is to be kept{_did_you_mean(name, self.codegen_options)}"
            )
        return option

    @functools.cached_property
    def by_function(self) -> tuple[int, ...]:
        """Actions whose passes work on one function at a time."""
        return tuple(action for action, p in enumerate(self.passes) if p.is_by_function)

    def expand(self, actions: Iterable[int]) -> tuple[int, ...]:
        """The same passes with those of lists one by one, as far as the space has them."""
        return tuple(each for action in actions for each in self._expanded[action])

    @functools.cached_property
    def _expanded(self) -> tuple[tuple[int, ...], ...]:
        actions = {p: action for action, p in enumerate(self.passes)}
        return tuple(
            tuple(actions[part] for part in p.parts)
            if p.parts and all(part in actions for part in p.parts)
            else (action,)
            for action, p in enumerate(self.passes)
        )

    def split(self, actions: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Actions as far as the last that is not by function, and those after it."""
        end = len(actions)
        while end and self.passes[actions[end - 1]].is_by_function:
            end -= 1
        return tuple(actions[:end]), tuple(actions[end:])

    def action(self, name: str) -> int:
        """The action of a pass, by name or by pipeline text.

        Raises:
            SpaceError: no pass of this space has that name.
        """
        index = self._index.get(name)
        if index is None:
            raise SpaceError(
                f"space '{self.name}' has no pass '{name}'{_did_you_mean(name, self._index)}"
            )
        return index

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        by_pipeline = {p.pipeline: i for i, p in enumerate(self.passes)}
        return by_pipeline | {p.name: i for i, p in enumerate(self.passes)}


def options_on(ways: Iterable[Codegen], module: Module) -> list[tuple[str, ...]]:
    """LLVM's options for ways to generate a module's code.

    What is not sound is left out, and ways of which then nothing is left, or that are there twice.
    """
    sound = (
        tuple(each.option for each in way if _satisfies(module, each.requires)) for way in ways
    )
    return list(dict.fromkeys(filter(None, sound)))


def load_space(name_or_path: str | Path) -> PassSpace:
    """Load a built-in space by name, or a user's TOML file.

    Raises:
        SpaceError: no such space or file, a file that is not such TOML, or a pass LLVM rejects
            (named, with the nearest known name).
    """
    if str(name_or_path) in BUILT_IN_SPACES:
        return _load_built_in(str(name_or_path))
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        raise SpaceError(
            f"no pass space '{name_or_path}': choose {' or '.join(BUILT_IN_SPACES)}, "
            "or give a TOML file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"cannot read pass space {path}: {error}") from None
    return parse_space(text, origin=str(path))


@functools.cache
def _load_built_in(name: str) -> PassSpace:
    file = Path(__file__).with_name("spaces") / f"{name}.toml"
    return parse_space(file.read_text(encoding="utf-8"), origin=file.name)


def parse_space(text: str, origin: str) -> PassSpace:
    """Parse a space's TOML. ``origin`` names it in errors. Raises `SpaceError`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpaceError(f"{origin}: {error}") from None
    entries = table.get("pass")
    if not isinstance(entries, list) or not entries:
        raise SpaceError(f"{origin}: no [[pass]] entries")
    module = Module.parse(b"")
    passes: dict[str, Pass] = {}
    for entry in entries:
        each = _parse_entry(entry, origin, module, passes)
        if each.name in passes:
            raise SpaceError(f"{origin}: two passes are named '{each.name}'")
        passes[each.name] = each
    return PassSpace(
        name=str(table.get("name", Path(origin).stem)),
        description=str(table.get("description", "")),
        passes=tuple(passes.values()),
        codegen=_parse_codegen(table, origin, module),
    )


def _parse_entry(entry: Any, origin: str, module: Module, before: Mapping[str, Pass]) -> Pass:
    """A pass, or a list of those before it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise SpaceError(f"{origin}: each [[pass]] needs a name")
    is_list = "passes" in entry
    unknown = set(entry) - (LIST_KEYS if is_list else PASS_KEYS)
    if unknown:
        raise SpaceError(f"{origin}: pass '{entry['name']}' has unknown keys: {sorted(unknown)}")
    return _parse_list(entry, origin, before) if is_list else _parse_pass(entry, origin, module)


def _parse_list(entry: dict[str, Any], origin: str, before: Mapping[str, Pass]) -> Pass:
    names = entry["passes"]
    if not isinstance(names, list) or not names:
        raise SpaceError(f"{origin}: list '{entry['name']}' has no passes")
    parts: list[Pass] = []
    for name in map(str, names):
        if name not in before or before[name].parts:
            raise SpaceError(
                f"{origin}: list '{entry['name']}': '{name}' is no pass before it"
                f"{_did_you_mean(name, before)}"
            )
        parts.append(before[name])
    return Pass(
        name=entry["name"],
        pipeline=",".join(part.pipeline for part in parts),
        sound=all(part.sound for part in parts),
        reason=str(entry.get("reason", "")),
        slow=any(part.slow for part in parts),
        parts=tuple(parts),
    )


def _parse_codegen(table: dict[str, Any], origin: str, module: Module) -> tuple[Codegen, ...]:
    options: dict[str, CodegenOption] = {}
    for entry in _tables(table, "option", origin):
        option = _parse_option(entry, origin, module)
        if option.name in options:
            raise SpaceError(f"{origin}: two options are named '{option.name}'")
        options[option.name] = option
    codegen: list[Codegen] = []
    for entry in _tables(table, "codegen", origin):
        names = entry.get("options")
        if set(entry) != CODEGEN_KEYS or not isinstance(names, list) or not names:
            raise SpaceError(f"{origin}: each [[codegen]] has options, and nothing else")
        for name in map(str, names):
            if name not in options:
                raise SpaceError(
                    f"{origin}: there is no [[option]] '{name}'{_did_you_mean(name, options)}"
                )
            if names.count(name) > 1:
                raise SpaceError(f"{origin}: a [[codegen]] has '{name}' twice")
        codegen.append(tuple(options[name] for name in map(str, names)))
    return tuple(codegen)


def _tables(table: dict[str, Any], key: str, origin: str) -> list[dict[str, Any]]:
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise SpaceError(f"{origin}: {key} is no list of [[{key}]] entries")
    return entries


def _parse_option(entry: dict[str, Any], origin: str, module: Module) -> CodegenOption:
    name, option = entry.get("name"), entry.get("option")
    if not isinstance(name, str) or not isinstance(option, str):
        raise SpaceError(f"{origin}: each [[option]] needs a name and LLVM's option")
    what = f"{origin}: option '{name}'"
    unknown = set(entry) - OPTION_KEYS
    if unknown:
        raise SpaceError(f"{what} has unknown keys: {sorted(unknown)}")
    try:
        check_codegen_option(option)
    except LLVMError as error:
        raise SpaceError(f"{what}: {error}") from None
    return CodegenOption(
        name=name,
        option=option,
        sound=_boolean(entry, "sound", True, origin),
        reason=str(entry.get("reason", "")),
        requires=_parse_requires(entry, what, module),
        slow=_boolean(entry, "slow", False, origin),
    )


def _parse_requires(entry: dict[str, Any], what: str, module: Module) -> tuple[str, ...]:
    requires = entry.get("requires", [])
    if not isinstance(requires, list):
        raise SpaceError(f"{what}: requires is not a list")
    try:
        for name in map(str, requires):
            module.satisfies(name)
    except LLVMError as error:
        raise SpaceError(f"{what}: {error}") from None
    return tuple(map(str, requires))


def _parse_pass(entry: dict[str, Any], origin: str, module: Module) -> Pass:
    pipeline = str(entry.get("pipeline", entry["name"]))
    requires = _parse_requires(entry, f"{origin}: pass '{entry['name']}'", module)
    merges = entry.get("merges", "")
    if merges not in MERGES:
        raise SpaceError(
            f"{origin}: pass '{entry['name']}': merges is none of {', '.join(MERGES[1:])}"
        )
    if _depth(pipeline) > MAX_DEPTH:
        raise SpaceError(f"{origin}: pass '{entry['name']}' nests over {MAX_DEPTH} levels deep")
    try:
        pipeline = module.explicit_nesting(pipeline)
    except PipelineError as error:
        raise SpaceError(f"{origin}: {error}{_nearest_pass(str(error))}") from None
    return Pass(
        name=entry["name"],
        pipeline=pipeline,
        sound=_boolean(entry, "sound", True, origin),
        reason=str(entry.get("reason", "")),
        requires=requires,
        merges=merges,
        verify=_boolean(entry, "verify", False, origin),
        slow=_boolean(entry, "slow", False, origin),
    )


def _depth(pipeline: str) -> int:
    deepest = depth = 0
    for character in pipeline:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


def _is_one_adaptor(pipeline: str, name: str) -> bool:
    """Whether a pipeline is ``name(...)`` as a whole."""
    if not (pipeline.startswith(f"{name}(") and pipeline.endswith(")")):
        return False
    depth = 0
    for character in pipeline[len(name) : -1]:
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return False  # it ends before the pipeline does
    return True


def _boolean(entry: dict[str, Any], key: str, default: bool, origin: str) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise SpaceError(f"{origin}: '{entry['name']}': {key} is neither true nor false")
    return value


def _nearest_pass(message: str) -> str:
    """LLVM quotes the name it does not know; the nearest one of our spaces is most often meant."""
    _, _, rest = message.partition("'")
    unknown, _, _ = rest.partition("'")
    known = {p.name for name in BUILT_IN_SPACES for p in _built_in_passes(name)}
    return _did_you_mean(unknown, known)


@functools.cache
def _built_in_passes(name: str) -> tuple[Pass, ...]:
    return _load_built_in(name).passes


def _did_you_mean(name: str, known: Any) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" (did you mean '{nearest[0]}'?)" if nearest else ""
