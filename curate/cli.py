"""The command line: parse, call one function of a step, print. Errors become messages and exit codes here only."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from curate import __version__, progress, terminal
from curate.commands.export import FORMATS, HF
from curate.errors import CurateError, ManifestError, Unfinished, require_training
from curate.session import Session, loaded
from train.files import Damaged


class Commands(click.Group):
    """The commands in the order of the work, not of the alphabet."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *arguments: Any, **given: Any) -> Any:
        """Help and what is said of bad usage meet streams that are closed or full too, before any command begins."""
        terminal.open_streams()
        try:
            return super().main(*arguments, **given)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            terminal.print_line(f"error: {where}{error.strerror or error}")
            terminal.leave(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="curate")
def main() -> None:
    """Raw text to versioned training corpora, small language models trained on them, and a page that says
    what each step of curation was worth in next-word loss.

    Example: curate run manifests/quickstart.toml
    """
    progress.say_warnings()


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    from curate.quantities import parse_count

    try:
        return None if value is None else parse_count(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _kept(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """An option that is kept in the session, and no argument of its command."""
    setattr(context.ensure_object(Session), str(parameter.name), value)


def _kept_bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    _kept(context, parameter, _bytes(context, parameter, value))


def _kept_store(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value != value.encode(errors="replace").decode():
        raise click.BadParameter(f"{value}: not UTF-8; give the folder another name")
    _kept(context, parameter, value if "://" in value else FOLDER.convert(value, parameter, context))


def _share(context: click.Context, parameter: click.Parameter, value: str) -> None:
    number, _, of = value.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise click.BadParameter(f"{value}: write NUMBER/OF, from 0/{of or 64}")
    _kept(context, parameter, (int(number), int(of)))


PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
NONE_OR_MORE, SOME, SEED = click.IntRange(0, 10**9), click.IntRange(1, 10**9), click.IntRange(0, 2**32 - 1)

OPTIONS = {
    "store": click.option("--store", default=".curate", envvar="CURATE_STORE", show_default=True, expose_value=False,
                          callback=_kept_store, help="Folder of all results, or a URL such as s3://BUCKET/PREFIX."),
    "workers": click.option("--workers", type=SOME, expose_value=False, callback=_kept,
                            help="Threads or processes; default: every core."),
    "memory": click.option("--memory", metavar="SIZE", expose_value=False,
                           callback=_kept_bytes,
                           help='What finding duplicates may take, such as "8 GB"; default: half of the machine\'s.'),
    "engine": click.option("--engine", default="local", show_default=True, expose_value=False,
                           callback=_kept, help="local, or ray for many machines."),
    "share": click.option("--share", default="0/1", metavar="NUMBER/OF", expose_value=False, callback=_share,
                          help="Do this share of the tasks, from 0/OF; exit 75 where others have tasks left."),
    "wait": click.option("--wait", is_flag=True, expose_value=False, callback=_kept,
                         help="With --share: take over what nobody works on, wait for the rest."),
}  # fmt: skip
ALL = ("store", "workers", "memory", "engine")  # what a command takes that may have to build
SHARED = (*ALL, "share", "wait")  # and whose tasks can be shared


def answers(*options: str, trains: bool = False) -> Callable[[Callable], Callable]:
    """A command that answers with (JSON, text) or (JSON, text, whether something failed): it takes `--json` and these
    of OPTIONS, gets the session first, and its errors become messages and exit codes here. `trains`: it needs the extra
    `train`."""

    def decorate(function: Callable) -> Callable:
        @click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
        @click.pass_context
        @functools.wraps(function)
        def run(context: click.Context, *arguments: Any, as_json: bool, **given: Any) -> None:
            session = context.ensure_object(Session)
            before = progress.quiet(as_json)
            context.call_on_close(lambda: progress.quiet(before))
            code = 1
            try:
                if trains:
                    require_training()
                answer, text, *failed = function(session, *arguments, **given)
                terminal.print_answer(terminal.as_json(answer) if as_json else text)
                code = int(any(failed))
            except Unfinished as error:
                terminal.print_line(f"unfinished: {error}")
                code = error.exit_code
            except (CurateError, Damaged) as error:
                terminal.print_line(f"error: {error}")
                code = getattr(error, "exit_code", code)
            except OSError as error:
                terminal.print_line(f"error: {_of_the_system(error, session.store)}")
            except KeyboardInterrupt:
                terminal.print_line("stopped; the same command continues from here")
            if code:
                terminal.leave(code)

        for name in reversed(options):
            run = OPTIONS[name](run)
        return run

    return decorate


def _of_the_system(error: OSError, store: Path | str) -> str:
    """What the operating system refuses, with the fix; other than this it is a defect, and shows its trace."""
    fixes = {
        errno.ENOSPC: "free some space, or name another folder with --store; the same command continues",
        errno.EDQUOT: "free some space, or name another folder with --store; the same command continues",
        errno.EROFS: "name a folder that can be written with --store",
        errno.EACCES: "check the rights, or name another folder with --store",
        errno.EPERM: "check the rights, or name another folder with --store",
        errno.ENOTDIR: "name a folder with --store",
        errno.EISDIR: "a folder stands in a file's place: move it away",
        errno.ELOOP: "it is a link that leads nowhere: remove it",
        errno.ENAMETOOLONG: "give it a shorter name, or name another folder with --store",
        errno.ESTALE: "the disk is failing; the same command continues from what is whole",
        errno.EMFILE: "raise the limit of open files (ulimit -n); the same command continues",
        errno.EEXIST: "something else stands in its place: move it away, or name another folder with --store",
        errno.ENOENT: "there is no such folder any more; name one that is there",
        errno.EFBIG: "raise the limit of the size of files (ulimit -f); the same command continues",
        errno.EIO: "the disk is failing; the same command continues from what is whole",
    }
    if error.errno not in fixes:
        raise error
    return f"{error.filename2 or error.filename or store}: {os.strerror(error.errno)}; {fixes[error.errno]}"


manifest_argument = click.argument("manifest", type=PATH)
lock_option = click.option("--lock", "lock", type=FILE, help="Default: beside the manifest.")
track_option = click.option(
    "--track", metavar="NAME", help="Metrics to tensorboard, trackio or wandb as well."
)


@main.command()
@manifest_argument
@lock_option
@track_option
@answers(*SHARED, trains=True)
def run(session: Session, manifest: Path, lock: Path | None, track) -> tuple[Any, str, bool]:
    """Everything in order, skipping what is done: build, train, report.

    Example: curate run manifests/quickstart.toml
    """
    from curate.commands.summary import run_text
    from curate.pipeline import run_all

    outcome = run_all(session.open_store(), manifest, session.open_engine(), track, lock)
    return outcome.as_json(), run_text(outcome), any("failed" in one for one in outcome.runs)


@main.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--out", metavar="NAME.toml", type=PATH, help="Default: PATH's name.")
@click.option("--text", metavar="FIELD", help="The field that holds the text; default: what looks like it.")
@answers()
def init(session: Session, paths: tuple[str, ...], out: Path | None, text: str | None) -> tuple[Any, str]:
    """Look at files, folders, globs or URLs, and write a manifest of them to begin with. Nothing is overwritten.

    Example: curate init docs
    """
    from curate.commands.init import init as look_at

    return look_at(paths, out, text)


@main.command()
@manifest_argument
@click.option("--sample", type=NONE_OR_MORE, default=300, show_default=True,
              help="Documents of each source to try the levels on; 0: none.")  # fmt: skip
@answers("store", "workers")
def plan(session: Session, manifest: Path, sample: int) -> tuple[Any, str]:
    """Check a manifest and say what it would take: files, disk, minutes, rules that will not do.

    Example: curate plan manifests/quickstart.toml
    """
    from curate.commands.plan import plan as make_plan
    from curate.commands.summary import plan_text

    planned = make_plan(session.open_store(), loaded(manifest), session.workers, sample)
    if planned.problems:
        raise ManifestError("\nerror: ".join(planned.problems))
    return planned.as_json(), plan_text(planned)


@main.command()
@manifest_argument
@lock_option
@click.option("--locked", is_flag=True, help="Refuse to differ from the lock, and say what would.")
@answers(*SHARED)
def build(session: Session, manifest: Path, lock: Path | None, locked: bool) -> tuple[Any, str]:
    """Sources to corpora, and the lock beside the manifest.

    Example: curate build manifests/quickstart.toml
    """
    from curate.commands.summary import build_text
    from curate.commands.versions import build_locked

    if locked:
        built = build_locked(session.open_store(), loaded(manifest), session.open_engine(), lock)
    else:
        built = session.build(manifest, lock)
    return built.lock, build_text(built)


@main.command()
@manifest_argument
@answers("store")
def status(session: Session, manifest: Path) -> tuple[Any, str]:
    """Where a build and its grid stand: tasks done and left, who is at work, what failed and why. Nothing is made.

    Example: curate status manifests/quickstart.toml
    """
    from curate.commands.status import status as look
    from curate.commands.status import status_text

    standing = look(session.open_store(makes=False), loaded(manifest))
    return standing, status_text(standing)


@main.command()
@manifest_argument
@click.argument("index")
@click.option("--level", help="Whose documents are added; default: the manifest's last.")
@click.option("--kept", is_flag=True, help="All that the level keeps, whether or not it was written.")
@answers(*ALL)
def index(session: Session, manifest: Path, index: str, level: str | None, kept: bool) -> tuple[Any, str]:
    """Remember what was written of a level in an index, so that later builds can drop what resembles it.

    INDEX is a folder, or a Redis database that several machines share: redis://HOST:PORT/DB.

    Example: curate index manifests/quickstart.toml seen
    """
    from curate.corpora.built import written
    from curate.duplicates.index import add, begin
    from curate.steps import build

    asked = loaded(manifest)
    name = asked.level_named(level).name
    begin(asked, index)  # what cannot be added to is said before the work
    if kept:
        a = session.annotate(asked)
        rows = a.judged[name].kept
    else:
        built = build(session.open_store(), asked, session.open_engine(), record=False)
        a, rows = built.annotated, written(built, name)
    filled, added = add(asked, a.pool, a.signals, rows, index, name, "kept" if kept else "written")
    answer = {"index": filled.where, "added": added, "documents": filled.documents}
    text = (
        f'{added:,} documents of level "{name}" added'
        if added
        else "these documents are in the index already"
    )
    return answer, f"{text}; {filled.where} holds {filled.documents:,}"


@main.command()
@manifest_argument
@click.argument("names", metavar="ID|URL|FILE...", nargs=-1)
@click.option("--field", default="url", show_default=True, help="The field that holds addresses.")
@click.option("--index", "indexes", multiple=True, metavar="FOLDER",
              help="An index to remove them from, beside those that the manifest names; may be repeated.")  # fmt: skip
@answers(*ALL)
def forget(
    session: Session, manifest: Path, names: tuple[str, ...], field: str, indexes: tuple[str, ...]
) -> tuple[Any, str]:
    """Take documents, and what is near them, out of every level, holdout and index, and prove that they are gone.

    Each is an id, an address in a field, or a file that names one a line. A list of hashes beside the manifest keeps
    them out of every later build. Named again, or with no names, the proof is made anew.

    Example: curate forget manifests/quickstart.toml 0a1b2c3d4e5f60718293a4b5c6d7e8f9
    """
    from curate.commands.forget import forget as forget_documents
    from curate.commands.forget import forget_text

    proof = forget_documents(session.open_store(), manifest, names, field, indexes, session.open_engine())
    return proof, forget_text(manifest, proof)


@main.command()
@click.argument("manifest", type=PATH, required=False)
@click.option(
    "--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), help="One corpus directory."
)
@click.option("--out", type=FOLDER, help="With --corpus: where the run goes.")
@click.option("--depth", default=4, show_default=True, help="With --corpus: layers.")
@click.option("--width", default=64, show_default=True, help="With --corpus: width of the model.")
@click.option("--vocabulary", default=4096, show_default=True, help="With --corpus: tokens of its tokenizer.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="With --corpus: seed.")
@click.option(
    "--cells", is_flag=True, help="Write the cells for `torchrun -m train.run CELL`; train nothing."
)
@track_option
@answers(*SHARED, trains=True)
def train(
    session: Session, manifest, corpus, out, depth, width, vocabulary, seed, cells, track
) -> tuple[Any, ...]:
    """Train the grid of a manifest, or one model on one corpus directory.

    Ctrl-C writes a checkpoint of every running cell; the same command continues from there.

    Example: curate train manifests/quickstart.toml
    """
    from curate.commands.summary import corpus_run_text, train_text
    from curate.runs.tracking import open_tracker

    if (manifest is None) == (corpus is None):
        raise click.UsageError("name a manifest, or a corpus with --corpus DIR")
    if cells and corpus:
        raise click.UsageError("--cells writes those of a manifest")
    if corpus is not None:
        from curate.runs.training import train_corpus

        setting = {"seed": seed, "vocabulary": vocabulary, "model": {"depth": depth, "width": width}}
        tracker = open_tracker(track, corpus.name, session.open_store().root / "tracking")
        directory, record = train_corpus(
            session.open_store(), corpus, setting, out, session.open_engine(), tracker
        )
        return record, corpus_run_text(directory, record)
    from curate.runs.training import train as train_grid
    from curate.runs.training import write_cells

    asked = loaded(manifest)
    asked.check_trains()
    if cells:
        written = list(map(str, write_cells(session.build(asked))))
        return written, "\n".join(written) or "all cells are trained"
    tracker = open_tracker(track, asked.name, session.open_store().root / "tracking")
    runs = train_grid(session.build(asked), tracker)
    return runs, train_text(runs), any("failed" in one for one in runs)


@main.command()
@manifest_argument
@click.option("--out", type=FOLDER, help="Default: report/NAME here.")
@answers(*ALL, trains=True)
def report(session: Session, manifest: Path, out) -> tuple[Any, str]:
    """The page: what quantity and quality did to the loss, from the runs that are finished.

    Example: curate report manifests/quickstart.toml
    """
    from curate.commands.summary import report_text
    from curate.pipeline import write_report
    from curate.runs.cells import planned_cells, records

    built = session.build(manifest)
    page, facts = write_report(built, records(planned_cells(built)), out)
    return facts, report_text(page, facts)


@main.command()
@click.argument("lock", type=PATH)
@click.option("--replay", is_flag=True, help="Also judge every document again, from its stored signals.")
@click.option(
    "--from-text", type=click.IntRange(0), default=0, metavar="DOCUMENTS", help="And measure so many again."
)
@answers(*ALL)
def verify(session: Session, lock: Path, replay: bool, from_text: int) -> tuple[Any, str]:
    """Recompute the digests of a lock's corpora from their bytes; exit 1 and name what differs.

    Example: curate verify manifests/quickstart.lock.json
    """
    from curate.commands.versions import replay as judge_again
    from curate.corpora.lock import check

    count = check(session.open_store(), lock)
    replay = replay or bool(from_text)
    verdicts = judge_again(session.open_store(), lock, session.open_engine(), from_text) if replay else 0
    again = f"; {verdicts:,} verdicts given again, 0 differences" if replay else ""
    again += f"; signals of {from_text:,} documents, or all, are what their texts give" if from_text else ""
    answer = {"corpora": count, "differ": [], "verdicts": verdicts}
    return answer, f"{lock}: {count} corpora are what the lock says{again}"


@main.command()
@click.argument("name")
@answers()
def log(session: Session, name: str) -> tuple[Any, str]:
    """Versions of a lock in git's history, the newest first, and what each changed.

    NAME is the manifest's, or the path of a manifest or lock.

    Example: curate log quickstart
    """
    from curate.commands.versions import log as read_log
    from curate.commands.versions import log_text

    rows = read_log(name, Path.cwd())
    return rows, log_text(rows)


@main.command()
@click.argument("version", metavar="NAME@DIGEST")
@click.option("--out", type=FOLDER, help="Default: NAME@DIGEST here.")
@answers(*ALL)
def checkout(session: Session, version: str, out: Path | None) -> tuple[Any, str]:
    """The corpora of an older lock, in a folder of their own: linked from the store, or built again.

    DIGEST is the beginning of a version's, as `curate log` prints it, of a commit's, or of a corpus's.

    Example: curate checkout quickstart@1a2b3c4d5e6f
    """
    from curate.commands.versions import checkout as check_out

    folder, built = check_out(session.open_store(), version, out, Path.cwd(), session.open_engine())
    return {
        "folder": str(folder),
        "built": built,
    }, f"{folder}: {'built again' if built else 'linked from the store'}"


@main.command()
@manifest_argument
@click.argument("document")
@answers(*ALL)
def explain(session: Session, manifest: Path, document: str) -> tuple[Any, str]:
    """One document: every signal, every rule, which level drops it and why, what it duplicates.

    DOCUMENT is an id, the beginning of one, or a place as the report shows it.

    Example: curate explain manifests/quickstart.toml python3.11/json/__init__.py::dumps
    """
    from curate.commands.explain import explain as explain_one
    from curate.commands.summary import explain_text

    explanation = explain_one(session.annotate(manifest), document)
    return explanation.as_json(), explain_text(explanation)


@main.command()
@click.argument("a")
@click.argument("b")
@click.option("--of", "of", type=PATH, metavar="MANIFEST",
              help="A and B are levels or profiles; judge them on its documents.")  # fmt: skip
@answers(*ALL)
def diff(session: Session, a: str, b: str, of: Path | None) -> tuple[Any, str, bool]:
    """Two locks, levels or profiles: documents that only one keeps, and by which rule the other drops them. Two reports:
    whether their answers agree. Exit 1 if they differ.

    Example: curate diff c4 fineweb --of manifests/quickstart.toml
    """
    from curate.commands.diff import diff as compare
    from curate.commands.summary import diff_text

    difference = compare(session.open_store(), a, b, of, session.open_engine())
    return difference.as_json(), diff_text(difference), difference.differs


@main.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--level", help="Of a manifest: what this level keeps; default: its last one.")
@click.option("--rule", help="Of a manifest: what this rule drops in the level.")
@click.option("--count", type=SOME, default=5, show_default=True, help="Documents to show.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Another seed shows others.")
@click.option("--characters", type=SOME, default=400, show_default=True, help="Of each document.")
@answers(*ALL)
def show(
    session: Session, corpus: Path, level, rule, count: int, seed: int, characters: int
) -> tuple[Any, str]:
    """Look at documents: sampled from a corpus directory, or from a manifest by level and by dropping rule.

    Example: curate show manifests/quickstart.toml --level filtered --rule alphabetic_word_ratio
    """
    from curate.commands.show import show_corpus, show_level
    from curate.commands.summary import show_text

    if corpus.is_dir() and (level or rule):
        raise CurateError(f"{corpus} is a corpus; --level and --rule choose among a manifest's documents")
    if corpus.is_dir():
        found = show_corpus(corpus, count, seed, characters)
    else:
        found = show_level(
            session.open_store(), corpus, level, rule, session.open_engine(), count, seed, characters
        )
    return found.as_json(), show_text(found)


@main.command()
@manifest_argument
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of this machine; default: any that is free."
)
@click.option("--open/--no-open", "opens", default=True, help="Show it in the browser at once.")
@answers(*ALL)
def browse(session: Session, manifest: Path, port: int, opens: bool) -> tuple[Any, str]:
    """A page on this machine to look at documents: by level and rule, in search of words, around a bound that is moved.

    Nothing is trained and nothing leaves the machine. Ctrl-C ends it.

    Example: curate browse manifests/quickstart.toml
    """
    from curate.browse.server import browse as look

    return {"address": look(session.annotate(manifest), port, opens)}, "ended"


@main.command()
@manifest_argument
@click.option("--signal", required=True, help="The signal to bound; a number.")
@click.option("--level", help="Whose documents; default: the last level that bounds the signal, or the last.")
@click.option(
    "--side",
    type=click.Choice(["low", "high"]),
    help="Bound it from below or above; default: as the level does.",
)
@click.option(
    "--bound", "bounds", multiple=True, type=float, help="A candidate; may be repeated. Default: quantiles."
)
@click.option("--train", is_flag=True, help="Train on the corpus of each candidate too.")
@click.option(
    "--tokens", callback=_bytes, metavar="SIZE", help="With --train: tokens; default: the largest size."
)
@click.option("--seeds", type=SOME, help="With --train: runs of each; default: as the grid.")
@answers(*ALL)
def sweep(session: Session, manifest: Path, signal, level, side, bounds, train, tokens, seeds):
    """Help in choosing a threshold: what bounds would keep, documents around each, and with --train the loss at each.

    Example: curate sweep manifests/quickstart.toml --signal word_count
    """
    from curate.commands.sweep import Asked, sweep_text
    from curate.commands.sweep import sweep as run_sweep

    if train:
        require_training()
    asked = Asked(signal, level, side, bounds, tokens, seeds)
    swept = run_sweep(session.open_store(), loaded(manifest), session.open_engine(), asked, train)
    return swept, sweep_text(swept)


@main.command()
@click.option(
    "--markdown", is_flag=True, help="Print the page of all signals, with ranges and values of nothing."
)
@answers()
def signals(session: Session, markdown: bool) -> tuple[Any, str]:
    """All signals that a level may bound: unit, range, definition.

    Example: curate signals
    """
    from curate.commands.summary import signals_markdown, signals_text
    from curate.signals.families import described

    rows = described()
    return rows, signals_markdown(rows).rstrip() if markdown else signals_text(rows)


locks_option = click.option(
    "--locks", "locks", multiple=True, type=FILE,
    help="A lock, or a file that names a lock a line, beside those of git's history; may be repeated.",
)  # fmt: skip


@main.command()
@locks_option
@answers("store")
def ls(session: Session, locks: tuple[Path, ...]) -> tuple[Any, str]:
    """What the store holds: corpora, runs, tokenizers and indexes, with sizes and the locks that use them.

    Example: curate ls
    """
    from curate.commands.keeping import look, ls_answer

    return ls_answer(look(session.open_store(), locks))


@main.command()
@locks_option
@click.option("--delete", is_flag=True, help="Remove it; without this nothing is touched.")
@answers("store")
def gc(session: Session, locks: tuple[Path, ...], delete: bool) -> tuple[Any, str]:
    """What no lock was made of that is in git's history, where it was written, or named by --locks.

    What a running process works with stays.

    Example: curate gc
    """
    from curate.commands.keeping import collect, gc_answer

    return gc_answer(*collect(session.open_store(), locks, delete), delete)


@main.command()
@manifest_argument
@click.option("--draws", type=click.IntRange(2, 1000), default=12, show_default=True, help="Of documents.")
@answers(*ALL)
def preview(session: Session, manifest: Path, draws: int) -> tuple[Any, str]:
    """What trigrams say of the levels, in seconds: the same holdouts and intervals, no training.

    Example: curate preview manifests/quickstart.toml
    """
    from curate.commands.preview import preview as look_ahead
    from curate.commands.preview import preview_text

    seen = look_ahead(session.open_store(), loaded(manifest), session.open_engine(), draws)
    return seen, preview_text(seen)


@main.command()
@click.argument("run", type=PATH)
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option(
    "--against",
    multiple=True,
    type=PATH,
    help="Another run; may be given several times.",
)
@click.option("--format", help="jsonl, parquet, text ...; default: by each file's name.")
@click.option("--text", default="text", show_default=True, help="The field that holds the text.")
@answers("store", "workers", trains=True)
def score(session: Session, run: Path, files: tuple[Path, ...], against, format, text) -> tuple[Any, str]:
    """The loss of documents under a trained model, or under several. For those of a manifest: [signals] loss.

    RUN is the directory of a finished run, as `curate train` and `curate run` name it. FILES are read as a source is;
    intervals are over their documents.

    Example: curate score .curate/runs/unique-seed-0-*/400000 README.md
    """
    from curate.commands.score import score as score_files
    from curate.commands.score import score_text

    rows = score_files(
        session.open_store(), session.open_engine(), [run, *against], list(files), format, text
    )
    return rows, score_text(rows)


@main.command()
@click.argument("run", type=PATH)
@click.option("--steps", type=NONE_OR_MORE, help="Of fine-tuning; 0: zero-shot only. Default: 300.")
@click.option(
    "--family", "families", multiple=True, help="arithmetic, beliefs, references or cipher; default: all."
)
@answers(*ALL, trains=True)
def probe(session: Session, run: Path, steps: int | None, families: tuple[str, ...]) -> tuple[Any, str]:
    """Sums, false beliefs, pronouns and a cipher, asked of a trained model before and after fine-tuning.

    RUN is the directory of a finished run, or a manifest: then all runs of its grid are asked, and what data quality
    does to the answers stands in the next report, with intervals.

    Example: curate probe manifests/quickstart.toml --steps 0
    """
    from curate.commands import probing

    if run.suffix != ".toml":
        record = probing.probe(run, steps, families)
        return record, probing.probe_text(record)
    from curate.runs.cells import planned_cells, records

    runs = records(planned_cells(session.build(run)))
    probed = probing.probe_all(runs, steps, families)
    return [r["probes"] | {"directory": r["directory"]} for r in probed], probing.probes_text(probed)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", type=click.Choice([HF, *FORMATS]), help="Of a run: hf. Of a corpus: one of the others.")
@click.option("--out", type=FOLDER, help="Default: in or beside FOLDER.")
@click.option("--tokenizer", type=PATH, help="Of a corpus: not its own, but this.")
@click.option("--end", help='Of --tokenizer: what ends a document, such as "<|endoftext|>".')
@click.option("--shuffle", type=SEED, metavar="SEED", help="Of a corpus: another order.")
@answers()
def export(session: Session, folder: Path, to, out, tokenizer, end, shuffle) -> tuple[Any, str]:
    """A trained model as a folder that transformers, vLLM or lm-eval open (as Qwen3), or a corpus in the files of another
    trainer.

    FOLDER is that of a finished run, or of a corpus, as `curate build` names them. Beside a corpus's files export.json says
    what they hold.

    Example: curate export .curate/corpora/unique-1M-* --to megatron
    """
    from curate.commands.export import export_any

    return export_any(folder, to, out, tokenizer, end, shuffle)


@main.command()
@click.argument("lock", type=PATH)
@click.option("--corpus", metavar="LEVEL-SIZE", help="Default: the one of most tokens.")
@answers("store")
def summary(session: Session, lock: Path, corpus: str | None) -> tuple[Any, str]:
    """The public summary of training content that the EU asks for, in Markdown, as far as a corpus and its lock know it.

    What they cannot know is marked for a person to fill in.

    Example: curate summary manifests/quickstart.lock.json
    """
    from curate.commands.training_content import as_markdown, summarize

    found = summarize(session.open_store(), lock, corpus)
    return found, as_markdown(found)


@main.command()
@click.argument("lock", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("url")
@click.option("--only", multiple=True, metavar="LEVEL-SIZE", help="Some of the corpora. Default: all.")
@answers("store")
def publish(session: Session, lock: Path, url: str, only: tuple[str, ...]) -> tuple[Any, str]:
    """The corpora of a lock as a data set for others: Parquet, a card, Croissant.

    URL is a folder, any address that fsspec knows (s3://, gs://, ...), or a data set of the hub, hf://datasets/OWNER/NAME.
    What is there already is not sent again.

    Example: curate publish manifests/quickstart.lock.json published
    """
    from curate.commands.publish import publish as publish_lock
    from curate.quantities import short_bytes

    done = publish_lock(session.open_store(), lock, url, only)
    sent = f"{done['sent']} of {done['files']} files sent, {short_bytes(done['bytes_sent'])}; {done['removed']} removed"
    return done, f"{url}: {', '.join(done['configs'])}; {sent}"


if __name__ == "__main__":
    main()
