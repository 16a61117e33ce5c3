"""``private_pip SPEC ...``: install packages from private git repositories."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from colab_magics.core.blocks.arguments import check_secret
from colab_magics.core.blocks.verb import Call, Verb
from colab_magics.core.common.results import InstallResult
from colab_magics.core.common.settings import INSTALLERS
from colab_magics.errors import PlanError

if TYPE_CHECKING:
    import argparse

    from colab_magics.core.blocks.arguments import Arguments
    from colab_magics.core.blocks.effects import Touches
    from colab_magics.core.blocks.export.script import Script
    from colab_magics.core.blocks.lockfile import Lock
    from colab_magics.core.blocks.plan import Step
    from colab_magics.core.common.settings import Settings

__all__ = ["VERB"]


class _PrivatePip(Verb):
    command = "pip"
    synopsis = "SPEC ..."
    summary = "install packages from private git repositories"
    description = (
        "Install packages from private git repositories. The token is read from the token file, the\n"
        "environment or the notebook service's secrets, and is shown to git alone."
    )
    example = "  VERB acme/secretlib@v1.2\n  VERB -r requirements.txt"
    loads = ("packages.install",)

    def arguments(self, parser: Arguments) -> None:
        add = parser.add_argument
        add(
            "specs",
            metavar="SPEC",
            nargs="*",
            help="org/repo[extra]@REF#subdirectory=DIR, repo, HOST/org/repo, https://..., ./folder",
        )
        add("-r", "--requirement", metavar="FILE", action="append", default=[], help="a requirements file (repeatable)")
        add("-c", "--constraint", metavar="FILE", action="append", default=[], help="a constraints file (repeatable)")
        add("-e", "--editable", action="store_true", help="clone into src/ and install in place")
        add("--src", metavar="DIR", help="the folder for such clones; default: src")
        add("-U", "--upgrade", action="store_true", help="as pip's")
        add("--force", action="store_true", help="install again what is installed")
        add("--no-deps", action="store_true", help="as pip's")
        add("--token-file", metavar="PATH", help="the JSON file that tokens are read from")
        add("--token", metavar="secret:NAME", help="the name of the token; never the token itself")
        add("--index-url", metavar="URL", help="the index in place of PyPI; its token is looked up by its host")
        add("--extra-index-url", metavar="URL", action="append", default=[], help="an index beside it (repeatable)")
        add("--installer", choices=INSTALLERS, help="default auto: uv when it is there, else pip")

    def check(self, args: argparse.Namespace, dropbox_url: str) -> None:
        from colab_magics.core.git import specs  # here: loading the extension must not wait for them
        from colab_magics.core.secrets import secrets

        secrets.refuse_literal(filter(None, [args.token_file, args.src, *args.requirement, *args.constraint]))
        if not args.specs and not args.requirement:
            raise PlanError("private_pip is followed by org/repo, or -r FILE")
        check_secret(args.token)
        for spec in args.specs:
            specs.parse_spec(spec, owner="owner")

    def needs(self, step: Step) -> list[str]:
        from colab_magics.core.git import specs  # here: as above

        if step.args.token:
            return super().needs(step)
        found = [specs.parse_spec(text, owner="owner") for text in step.args.specs]
        hosts = [f"host:{spec.host}" for spec in found if not spec.is_folder]
        return [*super().needs(step), *hosts, *(["host:*"] if step.args.requirement else [])]

    def effects(self, step: Step, touches: Touches) -> None:
        args = step.args
        touches.secrets(args.token_file)
        touches.packages()

        def place(clone: str) -> str:
            earlier = not args.src and os.path.exists(f"{clone}/.git")  # where an earlier version made it
            return clone if earlier else f"{args.src or 'src'}/{clone}"

        for name in args.requirement:
            touches.requirements(name, place)
        for name in args.constraint:
            touches.requirements(name, place, "the constraints file")
        for spec in args.specs:
            if re.match(r"^(\.{1,2}(/|$|\[)|/|~|drive:)", spec):
                touches.builds(spec)
            elif args.editable:
                name = re.split(r"[@\[#]", spec.rstrip("/").removesuffix(".git"))[0].rpartition("/")[2]
                touches.writes(place(name))

    def run(self, step: Step, call: Call) -> InstallResult:
        from colab_magics.core.common import drive  # here: loading must not wait for them
        from colab_magics.core.packages import install

        settings = call.settings
        if step.args.token_file:
            settings = replace(settings, token_file=drive.expand(step.args.token_file, settings))
        if step.args.installer:
            settings = replace(settings, installer=step.args.installer)
        with call.frozen.held(step) if call.frozen else nullcontext(step) as held:
            args = held.args
            return install.install(
                args.specs,
                requirements=args.requirement,
                editable=args.editable,
                src=args.src,
                upgrade=args.upgrade,
                force=args.force,
                no_deps=args.no_deps,
                token=args.token,
                constraints=args.constraint,
                index_url=args.index_url,
                extra_index_urls=args.extra_index_url,
                dry_run=call.dry_run,
                settings=settings,
                progress=call.progress,
            )

    def missing(self, step: Step, lock: Lock) -> list[str]:
        return [name for text in step.args.specs if (name := lock.unknown(text))]

    def note(self, step: Step, result: object, lock: Lock, settings: Settings) -> None:
        assert isinstance(result, InstallResult)  # noqa: S101 - what run returns
        lock.note_repositories((entry.url, entry.commit) for entry in result.packages)

    def export(self, step: Step, script: Script) -> list[str]:
        from colab_magics.core.blocks.lexer import SYMBOL  # here: as above

        args = step.args
        if args.installer == "uv":
            raise PlanError("a script installs with pip; leave --installer uv out")
        for url in filter(None, (args.index_url, *args.extra_index_url)):
            if "@" in url.partition("://")[2].partition("/")[0] or SYMBOL.search(url):
                raise PlanError(
                    "a script shows an index's address to pip; write it out, without a name or password in it"
                )
        lines = []
        if args.token_file:
            lines.append(f"COLAB_MAGICS_TOKEN_FILE={script.word(args.token_file)}")
        if args.index_url:
            lines.append(f"export PIP_INDEX_URL={script.word(args.index_url)}")
        if args.extra_index_url:
            lines.append(f"export PIP_EXTRA_INDEX_URL={script.word(' '.join(args.extra_index_url))}")
        if args.upgrade or args.force:
            lines.append("again=yes")
        script.installs(step)
        lines += script.git(step, args.token, *args.specs)
        for text in args.specs:
            lines += _wanted(text, args, script)
        lines += [script.call("want_file", "-r", name) for name in args.requirement]
        lines += [script.call("want_file", "-c", name) for name in args.constraint]
        flags = (("upgrade", "--upgrade"), ("force", "--force-reinstall"), ("no_deps", "--no-deps"))
        lines.append(script.call("install_wanted", *(option for name, option in flags if getattr(args, name))))
        return ["(", *(f"  {line}" for line in lines), ")"]


def _wanted(text: str, args: argparse.Namespace, script: Script) -> list[str]:
    from colab_magics.core.git import specs  # here: as above

    spec = specs.parse_spec(text, owner="owner")
    extras, subdirectory, ref = ",".join(spec.extras), spec.subdirectory or "", script.word(spec.ref or "")
    if spec.is_folder:
        return [script.call("want_in_place" if args.editable else "want_folder", spec.path, extras)]
    lines = script.repository(text)
    if args.editable:
        script.features.add("check_out")
        clone = f"{args.src or 'src'}/{spec.repository}"
        lines.append(f'check_out "$url" {ref} {script.word(clone)}')
        return [*lines, script.call("want_in_place", f"{clone}/{subdirectory}".rstrip("/"), extras)]
    if extras:
        script.features.add("extras")
    return [*lines, f'want "$url" {ref} {script.word(subdirectory)} {script.word(extras)}']


VERB = _PrivatePip()
