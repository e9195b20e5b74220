"""git://, git+https:// and https://….git: the files of a revision of a repository, by the program `git`.

git+https://HOST/PATH[@REVISION], https://HOST/PATH.git[@REVISION]: a branch, a tag or a commit; else the default
branch. Nothing of the repository is run: there is no checkout, hence no hook and no filter, and no submodule is
followed. Files are taken out of `git archive`. Files that are in Git LFS are pointers there: they are refused, with a
word on what would work.

Source: KServe's python/storage (_download_git_repo); git's documentation of GIT_ALLOW_PROTOCOL and of `git archive`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from proa.ml.serving.storage.pieces import Interrupted, Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import basic, ca_bundles

_IS_GIT = re.compile(r"https://\S+\.git(@\S+)?")
_REVISION = re.compile(r"[\w][\w./+-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SCHEMES = ("git", "http", "https")
FETCH_SECONDS = 3600
CHUNK_BYTES = 1 << 20
LFS = "^version https://git-lfs.github.com/spec/"
_SAFE = (
    "-c", "core.hooksPath=/dev/null", "-c", "protocol.file.allow=never", "-c", "protocol.ext.allow=never",
    "-c", "submodule.recurse=false", "-c", "credential.helper=", "-c", "transfer.fsckObjects=true",
    "-c", "http.followRedirects=initial", "-c", "core.fsmonitor=false", "-c", "core.askPass=/bin/false",
)  # fmt: skip


def is_git(uri: str) -> bool:
    """Return whether a plain https URL is that of a repository."""
    return _IS_GIT.fullmatch(uri) is not None


def find(uri: str, around: Surroundings) -> Model:
    """Say which commit is meant; its files come as one archive."""
    url, revision, user = _parse(uri)
    if shutil.which("git") is None:
        raise StorageError("git:// needs the program git in the image")
    env = _environment(around.env, user)
    commit = revision if _COMMIT.fullmatch(revision) else _resolve(url, revision or "HEAD", env)

    def open_at(_: int) -> Opened:
        return Opened(0, _fetched(url, commit, env))

    return Model([Piece("archive", None, f"git\n{commit}", open_at, unpack="tar")], f"{url}@{commit}")


def _resolve(url: str, revision: str, env: Mapping[str, str]) -> str:
    """Return the commit of a branch or a tag; raise StorageError, Interrupted."""
    listed = _git(["ls-remote", "--", url, revision, f"{revision}^{{}}"], env, url)
    found = dict(line.split("\t")[::-1] for line in listed.splitlines())
    for name in (f"refs/tags/{revision}^{{}}", f"refs/tags/{revision}", f"refs/heads/{revision}", revision):
        if name in found:
            return found[name]
    raise StorageError(f"Git resource '{url}' has no branch or tag {revision!r}")


def _fetched(url: str, commit: str, env: Mapping[str, str]) -> Iterator[bytes]:
    """Yield a commit's files as a tar archive."""
    folder = Path(tempfile.mkdtemp(prefix="proa-git-"))
    at = ["--git-dir", str(folder)]
    try:
        _git(["init", "--quiet", "--bare", str(folder)], env, url)
        _git([*at, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit], env, url)
        large = _git([*at, "grep", "-lI", "--max-count=1", "-e", LFS, commit], env, url, fine=(0, 1)).split(
            "\n"
        )[0]
        if large:
            name = large.partition(":")[2]
            raise StorageError(
                f"{url}: {name} is in Git LFS, which is not fetched; use https:// or hf:// for it"
            )
        yield from _archive(folder, commit, env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parse(uri: str) -> tuple[str, str, str]:
    """Return URL, revision ("" for the default branch) and user; raise StorageError."""
    parts = urllib.parse.urlsplit(uri.removeprefix("git+"))
    path, at, revision = parts.path.partition("@")
    if not at and ".git:" in path:
        path, _, revision = path.partition(".git:")
        path += ".git"
    if parts.scheme not in SCHEMES or not parts.hostname or not path.strip("/"):
        raise StorageError(f"{uri}: expected git+https://HOST/PATH[@REVISION] or git://HOST/PATH[@REVISION]")
    if revision and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise StorageError(f"{uri}: {revision!r} is no branch, tag or commit")
    host = parts.hostname + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{host}{path}", revision, urllib.parse.unquote(parts.username or "")


def _environment(env: Mapping[str, str], user: str) -> dict[str, str]:
    """Return what git sees: nothing of this machine's configuration, and how it gets in."""
    found = {
        name: env[name]
        for name in ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY")
        if name in env
    }
    found |= {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "LC_ALL": "C",
    }
    found |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES), "GIT_LFS_SKIP_SMUDGE": "1"}
    if bundles := ca_bundles(env):
        found["GIT_SSL_CAINFO"] = bundles[-1]
    user, password = user or env.get("GIT_USERNAME", ""), env.get("GIT_PASSWORD", "")
    if password:  # in the environment: arguments are for all to see
        found |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader"}
        found["GIT_CONFIG_VALUE_0"] = f"Authorization: {basic(user or 'git', password)}"
    return found


def _git(arguments: list[str], env: Mapping[str, str], url: str, fine: tuple[int, ...] = (0,)) -> str:
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"{url}: git was not done after {FETCH_SECONDS} s") from None
    if done.returncode not in fine:
        raise _explained(url, done.stderr.decode("utf-8", "replace"), "GIT_CONFIG_COUNT" in env)
    return done.stdout.decode()


def _archive(folder: Path, commit: str, env: Mapping[str, str]) -> Iterator[bytes]:
    command = ["git", *_SAFE, "--git-dir", str(folder), "archive", "--format=tar", commit]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        while chunk := process.stdout.read(CHUNK_BYTES):
            yield chunk
        if process.wait():
            raise StorageError(f"git archive of {commit} failed with {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _explained(url: str, text: str, has_password: bool) -> Exception:
    line = next(
        (one for one in text.strip().splitlines()[::-1] if one.startswith(("fatal:", "error:"))), text.strip()
    )[:300]
    lower = text.lower()
    if "authentication failed" in lower or "could not read username" in lower or " 403" in lower:
        help_ = (
            "do GIT_USERNAME and GIT_PASSWORD belong to it?"
            if has_password
            else "set GIT_USERNAME and GIT_PASSWORD"
        )
        return StorageError(f"Git authentication failed for {url}: {help_}")
    if (
        "not found" in lower
        or "couldn't find remote ref" in lower
        or "does not exist" in lower
        or "not our ref" in lower
    ):
        return StorageError(f"Git resource '{url}' not found, or the revision is not in it: {line}")
    if any(word in lower for word in ("could not resolve", "timed out", "connection", "early eof", " 50")):
        return Interrupted(f"{url}: {line}")
    return StorageError(f"{url}: {line or os.strerror(5)}")
