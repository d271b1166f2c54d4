"""A copy in a git repository elsewhere: each push is a commit, so that its host, too, remembers when it saw what."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tocsin.child_process import end, launch
from tocsin.outside import File, OutsideError
from tocsin.outside.directory import CHECKPOINT, write_file

MAX_OUTPUT_BYTES = 262_144
_WHO = ("-c", "user.name=tocsin", "-c", "user.email=tocsin@localhost", "-c", "commit.gpgsign=false")
_FILES_ONLY = ("-c", "core.symlinks=false")
"""A link that somebody pushed becomes a file: through a link `tile`, ours would be written outside of the clone."""
_QUIET = {
    # Nobody sits there who could be asked for a password.
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10",
    # Not ext::, which would run a command.
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_KEPT_VARIABLES = ("PATH", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME")


@dataclass(frozen=True, slots=True)
class GitCopy:
    """A branch of a remote, and the clone of ours that is pushed from."""

    remote: str
    branch: str
    clone: Path
    timeout_seconds: float = 60.0

    async def held(self) -> str | None:
        """See `Copy.held`. Makes the clone's branch what the remote's is."""
        await asyncio.to_thread(self._make_clone)
        await self._run("init", "-q")
        said = await self._run("ls-remote", "--heads", "--", self.remote, f"refs/heads/{self.branch}")
        if not said.strip():
            return None
        await self._run("fetch", "-q", "--no-tags", "--", self.remote, f"refs/heads/{self.branch}")
        await self._run("checkout", "-q", "--force", "--detach", "FETCH_HEAD")
        await self._run("clean", "-qfdx")
        return await self._run("show", f"HEAD:{CHECKPOINT}")

    async def put(self, files: AsyncIterator[File], checkpoint: str) -> None:
        """See `Copy.put`; call `held` before. A push that would not continue the branch is refused by the remote."""
        async for file in files:
            await asyncio.to_thread(write_file, self.clone, file)
        await asyncio.to_thread(write_file, self.clone, File(CHECKPOINT, checkpoint.encode()), replace=True)
        await self._run("add", "-A", "--", ".")
        size = checkpoint.split("\n", 2)[1]
        await self._run(*_WHO, "commit", "-q", "--no-verify", "--allow-empty", "-m", f"Checkpoint {size}")
        await self._run("push", "-q", "--", self.remote, f"HEAD:refs/heads/{self.branch}")

    def _make_clone(self) -> None:
        try:
            self.clone.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutsideError(f"its clone cannot be made: {error}") from None

    async def _run(self, *arguments: str) -> str:
        """Run git in the clone and return what it prints. Raises OutsideError with its last words."""
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _QUIET
        pipe = asyncio.subprocess.PIPE
        try:
            process = await launch(
                "git", *_FILES_ONLY, *arguments, cwd=self.clone, env=environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe, stderr=pipe, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise OutsideError(f"git cannot be run: {error}") from None
        try:
            async with asyncio.timeout(self.timeout_seconds):
                said, complained = await asyncio.gather(_beginning(process.stdout), _beginning(process.stderr))
                await process.wait()
        except TimeoutError:
            raise OutsideError(f"git {arguments[0]} did not end within {self.timeout_seconds:g} seconds") from None
        finally:
            if process.returncode is None:
                # Its helpers as well: ssh would go on holding the pipes.
                with suppress(ProcessLookupError):  # it ended in this moment
                    os.killpg(process.pid, signal.SIGKILL)
                await end(process)
        if process.returncode:
            words = " ".join(complained.decode("utf-8", "replace").split())[-300:]
            raise OutsideError(f"git {arguments[0] if arguments[0] != '-c' else 'commit'} failed: {words}")
        return said.decode("utf-8", "replace")


async def _beginning(pipe: asyncio.StreamReader | None) -> bytes:
    """Return the first MAX_OUTPUT_BYTES of what git prints; the rest is read, lest git waits for us, and not kept."""
    assert pipe is not None
    kept = bytearray()
    while chunk := await pipe.read(65_536):
        kept += chunk[: MAX_OUTPUT_BYTES - len(kept)]
    return bytes(kept)
