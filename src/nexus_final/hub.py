"""A teacher by its model-hub id: weights as safetensors only, no code, one clear line when it can't be had.

The one idea: what the hub client already has on this disk is used first, so that a second run needs no network.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nexus.data.packages import Progress
from nexus_final.errors import UserError
from nexus_final.registry import TeacherSpec

WANTED = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "*.jinja",
    "vocab.json",
    "merges.txt",
]


def fetch_from_hub(spec: TeacherSpec, progress: Progress) -> Path:
    """Return the hub client's folder with this model's files.

    Raises:
        UserError: offline, unknown or closed to us, no safetensors, or not enough disk.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise UserError("path", f"{spec.path} needs huggingface_hub", "pip install 'nexus-ai[factory]'") from error
    try:
        folder = Path(
            snapshot_download(spec.path, revision=spec.revision, allow_patterns=WANTED, local_files_only=True)
        )
        if (folder / "config.json").exists() and list(folder.glob("*.safetensors")):
            return folder
    except LocalEntryNotFoundError:
        pass  # not on this disk yet
    progress(f"fetching {spec.path} from the model hub")
    return _download(spec)


def _download(spec: TeacherSpec) -> Path:
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    try:
        files = HfApi().model_info(spec.path, revision=spec.revision, files_metadata=True).siblings or []
        weights = [file for file in files if file.rfilename.endswith(".safetensors")]
        if not weights:
            raise UserError("path", f"{spec.path} has no safetensors weights", "choose a teacher that has them")
        _check_room(spec, sum(file.size or 0 for file in weights), Path(constants.HF_HUB_CACHE))
        return Path(snapshot_download(spec.path, revision=spec.revision, allow_patterns=WANTED))
    except errors.GatedRepoError as error:
        cure = "accept its terms on the hub and log in there with your own account"
        raise UserError("path", f"{spec.path} is closed to this account", cure) from error
    except errors.RepositoryNotFoundError as error:
        cure = "check the id (org/name); for a local folder give a path that exists"
        raise UserError("path", f"{spec.path} is neither a folder here nor a model on the hub", cure) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, OSError) as error:
        raise UserError(*_not_reached(spec.path)) from error
    except Exception as error:
        # The client's transport has its own error classes, and which one changes with its versions.
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore", "requests", "urllib3"):
            raise UserError(*_not_reached(spec.path)) from error
        raise


def _not_reached(path: str) -> tuple[str, str, str]:
    return (
        "path",
        f"{path} is no folder here, and the model hub isn't reached",
        "connect to a network once (it is cached from then on), or give the path of a local folder or GGUF file",
    )


def _check_room(spec: TeacherSpec, size: int, cache: Path) -> None:
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise UserError(
            "path",
            f"{spec.path} is {size / 1e9:.0f} GB, {place} has {free / 1e9:.0f} GB free",
            "free space, or set HF_HOME",
        )
