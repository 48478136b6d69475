"""Scripts that make the tab key complete verbs, options and their values: lists, so that no Python runs at a key.

The lists come from the verbs' own parsers. zsh runs bash's script, by its `bashcompinit`.
"""

import shlex
from argparse import SUPPRESS, Action
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from earthtone.cli import EVERYWHERE, LEVELS, VERBS, find_verb
from earthtone.cli.parsing import GIVE_PARSER, Parser, ParserAsked, first_sentence
from earthtone.errors import ConfigError
from earthtone.options import TASKS
from earthtone.plugins import plugins_of

#: The shells, and the file that each reads when it starts or when the command is typed first.
SHELLS: Mapping[str, str] = {
    "bash": "~/.local/share/bash-completion/completions/earthtone",
    "zsh": "~/.earthtone-completion.zsh",
    "fish": "~/.config/fish/completions/earthtone.fish",
}


@dataclass(frozen=True)
class _Option:
    name: str
    text: str
    values: tuple[str, ...]
    flag: bool


#: The second words of verbs that have one.
SECONDS: Mapping[str, Mapping[str, str]] = {
    "evaluate": TASKS,
    "reproduce": {"paper": "the steps of the SoundingEarth paper"},
    "completion": {shell: f"print it for {shell}" for shell in SHELLS},
}


def completion_script(shell: str) -> str:
    """Return the script for one of `SHELLS`. Raises ConfigError for another."""
    if shell not in SHELLS:
        raise ConfigError(f"completion {shell}; one of {', '.join(SHELLS)} expected")
    commands = {name: list(_options(name)) for name in _commands()}
    if shell == "fish":
        return "\n".join(_fish(commands)) + "\n"
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return head + "\n".join(_bash(commands)) + "\n"


def _commands() -> Iterator[str]:
    """Yield the verbs, with the second word where they have one."""
    for verb in VERBS:
        if verb != "completion":
            yield from (f"{verb} {second}" for second in SECONDS[verb]) if verb in SECONDS else (verb,)


def _options(command: str) -> Iterator[_Option]:
    verb, *second = command.split()
    try:
        find_verb(verb)([*second, GIVE_PARSER])
    except ParserAsked as asked:
        for action in asked.parser._actions:
            for name in action.option_strings:
                if name.startswith("--") and action.help != SUPPRESS:
                    yield _option(asked.parser, action, name)
    for name, text in EVERYWHERE.items():
        yield _Option(name, text, tuple(LEVELS) if name == "--log_level" else (), name in ("--quiet", "--debug"))


def _option(parser: Parser, action: Action, name: str) -> _Option:
    name = "--help-all" if name == "--help_all" else name
    text = first_sentence((action.help or "").replace("%%", "%"))
    flag = action.nargs == 0
    return _Option(name, text, () if flag else _values(parser, action.dest), flag)


def _values(parser: Parser, option: str) -> tuple[str, ...]:
    """Return what an option may be, also where its type does not say it: recipes and losses."""
    if option == "recipe":
        from earthtone.train.recipe_file import shipped_recipes

        return tuple(shipped_recipes())
    if option == "loss.name":
        from earthtone.losses import LOSSES, PUBLISHED

        return (*LOSSES, *PUBLISHED, *plugins_of("loss"))
    return parser.values.get(option, ())


def _bash(commands: Mapping[str, list[_Option]]) -> Iterator[str]:
    yield "_earthtone() {"
    yield '    local command="${COMP_WORDS[1]}"'
    yield '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    if [[ "$current" == "=" ]]; then current=""; fi'
    yield '    if [[ "$before" == "=" ]]; then before="${COMP_WORDS[COMP_CWORD-2]}"; fi'
    yield "    COMPREPLY=()"
    yield (
        "    if (( COMP_CWORD == 1 )); then COMPREPLY=( $(compgen -W " + _words(VERBS) + ' -- "$current") ); return; fi'
    )
    for verb, seconds in SECONDS.items():
        yield f'    if (( COMP_CWORD == 2 )) && [[ "$command" == {verb} ]]; then'
        yield f'        COMPREPLY=( $(compgen -W {_words(seconds)} -- "$current") ); return; fi'
    yield '    case "$command" in evaluate|reproduce) command="$command ${COMP_WORDS[2]}";; esac'
    yield '    case "$command:$before" in'
    for command, options in commands.items():
        for option in options:
            if option.values:
                case = shlex.quote(f"{command}:{option.name}")
                yield f'        {case}) COMPREPLY=( $(compgen -W {_words(option.values)} -- "$current") );;'
    yield "    esac"
    yield "    if (( ${#COMPREPLY[@]} )); then return; fi"
    yield '    if [[ "$current" == -* ]]; then case "$command" in'
    for command, options in commands.items():
        names = _words(option.name for option in options)
        yield f'        {shlex.quote(command)}) COMPREPLY=( $(compgen -W {names} -- "$current") );;'
    yield "    esac; return; fi"
    yield "}"
    yield "complete -o default -F _earthtone earthtone  # files where nothing else is known"


def _words(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _fish(commands: Mapping[str, list[_Option]]) -> Iterator[str]:
    none = "not __fish_seen_subcommand_from " + " ".join(VERBS)
    for verb, text in VERBS.items():
        yield f"complete -c earthtone -f -n {_fish_text(none)} -a {verb} -d {_fish_text(text)}"
    for verb, names in SECONDS.items():
        missing = f"__fish_seen_subcommand_from {verb}; and not __fish_seen_subcommand_from {' '.join(names)}"
        for name, text in names.items():
            yield f"complete -c earthtone -f -n {_fish_text(missing)} -a {name} -d {_fish_text(text)}"
    for command, options in commands.items():
        typed = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.split())
        for option in options:
            kind = "" if option.flag else f" -x -a {_fish_text(' '.join(option.values))}" if option.values else " -r"
            yield (
                f"complete -c earthtone -n {_fish_text(typed)} -l {option.name[2:]}{kind} -d {_fish_text(option.text)}"
            )


def _fish_text(text: str) -> str:
    """Return a text in single quotes as fish reads it, where a backslash stands before a quote and before itself."""
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
