"""The verb export. Not here: how models are exported (`harness/export/`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Json, PlanOptions, choose_plan, examples, grouped
from harness.cli.output import DONE, INCOMPLETE, named_output, print_json, say

if TYPE_CHECKING:
    from harness.schema.artifact import ExportedModel

app = typer.Typer()


@app.command(
    short_help="Export models without measuring them.",
    epilog=examples(
        "phonebench export plan.toml -o artifacts",
        "phonebench export my_models:net --shape 1x3x224x224 --recipe fp32,fp16",
        "phonebench export plan.toml --set matrix.container=zip,flatbuffer",
    ),
)
@grouped
def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PLAN|MODEL",
            help="A plan (.toml); or a model: module:callable, .pt2, .pt or .ptl.",
        ),
    ],
    options: PlanOptions,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Copy the files into this folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export models without measuring: files, sizes, operators, fidelity and accuracy.

    Every export is compared with the eager model, and kept in a cache by its
    content. Keys for --set are explained in docs/plan.md; `phonebench plan
    --schema` lists them.
    """
    from harness.cli.terminal import artifacts_table, show
    from harness.export.exporter import export_models
    from harness.export.sources import check_sources
    from harness.storage.cache import cache_folder
    from harness.storage.files import make_folder

    chosen = choose_plan(target, options)
    check_sources(chosen, Path.cwd())
    if output is not None:
        with named_output():
            make_folder(output)
    models = export_models(
        chosen, root=Path.cwd(), cache=cache_folder(), fresh=options.fresh, progress=say
    )
    if output is not None:
        _copy_artifacts(models, output)
    if as_json:
        print_json([model.model_dump(mode="json") for model in models])
    else:
        show(artifacts_table(models))
    broken = any(m.status != "ok" or any(a.status == "failed" for a in m.artifacts) for m in models)
    raise typer.Exit(INCOMPLETE if broken else DONE)


def _copy_artifacts(models: tuple[ExportedModel, ...], output: Path) -> None:
    from harness.storage.files import write_whole

    for model in models:
        for artifact in model.artifacts:
            if artifact.path is not None and artifact.manifest is not None:
                name = f"{artifact.variant}{artifact.path.suffix}"
                write_whole(output / name, artifact.path.read_bytes())
                manifest = artifact.manifest.model_dump_json(indent=1).encode()
                write_whole(output / f"{artifact.variant}.json", manifest)
