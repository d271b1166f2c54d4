"""Copies in other places: a directory, a real git remote, a real server that speaks S3."""

from __future__ import annotations

import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError

from tests.support.s3_server import s3_server
from tocsin.clock import system_clock
from tocsin.outside import Copy, File, OutsideError
from tocsin.outside.directory import DirectoryCopy
from tocsin.outside.git import MAX_OUTPUT_BYTES, GitCopy
from tocsin.outside.http import Http
from tocsin.outside.s3 import Bucket, Credentials, S3Copy, sign

FIRST = "example.org/log\n3\nroot\n\n— signature\n"
SECOND = "example.org/log\n256\nroot\n\n— signature\n"
FILES = [File("tile/0/000.p/3", b"abc" * 32), File("tile/entries/000.p/3", b"entries")]
WHOLE = [
    File("tile/0/000", b"abcd" * 2048),
    File("tile/entries/000", b"all entries"),
    File("tile/1/000.p/1", b"x" * 32),
]


async def each(files: list[File]) -> AsyncIterator[File]:
    for file in files:
        yield file


async def failing(files: list[File]) -> AsyncIterator[File]:
    for file in files:
        yield file
    raise OutsideError("the database went away")


async def lives(copy: Copy) -> None:
    """Live through what every copy does."""
    assert await copy.held() is None
    with pytest.raises(OutsideError, match="went away"):
        await copy.put(failing(FILES), FIRST)
    assert await copy.held() is None, "the checkpoint comes last"
    await copy.put(each(FILES), FIRST)
    assert await copy.held() == FIRST
    await copy.put(each(WHOLE), SECOND)
    assert await copy.held() == SECOND


async def test_a_directory_holds_the_files_as_they_are_served(tmp_path: Path) -> None:
    root = tmp_path / "log"
    await lives(DirectoryCopy(root))
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    # Partial tiles make way for the whole one.
    assert found == ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"]
    assert (root / "tile/0/000").read_bytes() == WHOLE[0].content


async def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OutsideError, match="cannot be"):
        await DirectoryCopy(tmp_path / "file").put(each(FILES), FIRST)


async def test_a_directory_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    copy = DirectoryCopy(tmp_path / "log")
    await copy.put(each(FILES), FIRST)
    assert await copy.held() == FIRST
    (tmp_path / "log").rename(tmp_path / "unmounted")
    with pytest.raises(OutsideError, match="is it mounted"):
        await copy.put(each(WHOLE), SECOND)
    assert not (tmp_path / "log").exists()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    folder.mkdir()
    git(folder, "init", "-q", "--bare")
    return folder


async def test_a_git_remote_gets_a_commit_for_each_checkpoint(tmp_path: Path, remote: Path) -> None:
    await lives(GitCopy(str(remote), "log", tmp_path / "clone"))
    assert git(remote, "log", "--format=%an %s", "log").splitlines() == ["tocsin Checkpoint 256", "tocsin Checkpoint 3"]
    assert git(remote, "show", "log:checkpoint") == SECOND
    assert "tile/0/000.p/3" in git(remote, "ls-tree", "-r", "--name-only", "log~1")


async def test_a_clone_that_was_lost_is_made_anew(tmp_path: Path, remote: Path) -> None:
    await lives(GitCopy(str(remote), "log", tmp_path / "clone"))
    again = GitCopy(str(remote), "log", tmp_path / "another")
    assert await again.held() == SECOND
    await again.put(each([]), FIRST)
    assert await again.held() == FIRST


async def test_a_remote_that_went_on_without_us_is_not_overwritten(tmp_path: Path, remote: Path) -> None:
    mine, theirs = (GitCopy(str(remote), "log", tmp_path / name) for name in ("mine", "theirs"))
    assert await mine.held() is None
    assert await theirs.held() is None
    await theirs.put(each(FILES), FIRST)
    with pytest.raises(OutsideError, match="git push failed"):
        await mine.put(each(FILES), SECOND)
    assert await mine.held() == FIRST


def pushed(tmp_path: Path, remote: Path) -> Path:
    """Return a clone of somebody else, who may push to the remote's branch as well."""
    folder = tmp_path / "somebody"
    git(tmp_path, "clone", "-q", "-b", "log", str(remote), str(folder))
    return folder


def push(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "-m", "x")
    git(folder, "push", "-q", "origin", "HEAD:refs/heads/log")


@pytest.mark.parametrize("link", ["tile", "tile/1"])
async def test_a_link_that_was_pushed_leads_nowhere(tmp_path: Path, remote: Path, link: str) -> None:
    copy = GitCopy(str(remote), "log", tmp_path / "clone")
    assert await copy.held() is None
    await copy.put(each(FILES), FIRST)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    theirs = pushed(tmp_path, remote)
    if link == "tile":
        git(theirs, "rm", "-rq", "tile")
    (theirs / link).symlink_to(elsewhere)
    push(theirs)
    assert await copy.held() == FIRST
    with pytest.raises(OutsideError, match="cannot be written"):
        await copy.put(each(WHOLE), SECOND)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
async def test_a_huge_checkpoint_is_not_held_in_memory(tmp_path: Path, remote: Path) -> None:
    copy = GitCopy(str(remote), "log", tmp_path / "clone")
    assert await copy.held() is None
    await copy.put(each(FILES), FIRST)
    theirs = pushed(tmp_path, remote)
    (theirs / "checkpoint").write_bytes(bytes(32 * 1024 * 1024))
    push(theirs)
    tracemalloc.start()
    try:
        held = await copy.held()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held is not None
    assert len(held) == MAX_OUTPUT_BYTES
    assert most < 4 * 1024 * 1024


@pytest.mark.parametrize("address", ["/nowhere/at/all", "ext::sh -c 'touch pwned'", "--upload-pack=touch pwned"])
async def test_a_remote_that_is_none_is_said_and_runs_nothing(tmp_path: Path, address: str) -> None:
    with pytest.raises(OutsideError, match="git ls-remote failed"):
        await GitCopy(address, "log", tmp_path / "clone").held()
    assert not (tmp_path / "clone" / "pwned").exists()


ACCESS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Any]]:
    """A server that speaks S3, and AWS's own client to look into it."""
    with s3_server() as url:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="eu-central-1",
            aws_access_key_id=ACCESS.access_key,
            aws_secret_access_key=ACCESS.secret,
        )
        yield url, client


def bucket(s3: tuple[str, Any], name: str, **more: Any) -> Bucket:
    where = {"LocationConstraint": "eu-central-1"}
    s3[1].create_bucket(Bucket=name, CreateBucketConfiguration=where, ObjectLockEnabledForBucket="lock_days" in more)
    return Bucket(s3[0], "eu-central-1", name, **more)


@pytest.mark.slow
async def test_a_bucket_holds_the_files(http: Http, s3: tuple[str, Any]) -> None:
    await lives(S3Copy(http, bucket(s3, "plain", prefix="tocsin/"), ACCESS, system_clock))
    assert s3[1].get_object(Bucket="plain", Key="tocsin/tile/0/000")["Body"].read() == WHOLE[0].content


@pytest.mark.slow
async def test_a_locked_object_cannot_be_deleted_and_every_checkpoint_stays(http: Http, s3: tuple[str, Any]) -> None:
    await lives(S3Copy(http, bucket(s3, "locked", lock_days=30), ACCESS, system_clock))
    versions = s3[1].list_object_versions(Bucket="locked", Prefix="checkpoint")["Versions"]
    assert len(versions) == 2
    for version in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3[1].delete_object(Bucket="locked", Key="checkpoint", VersionId=version["VersionId"])
    kept = s3[1].head_object(Bucket="locked", Key="tile/0/000")
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    assert (kept["ObjectLockRetainUntilDate"] - datetime.now(UTC)).days == 29


@pytest.mark.slow
async def test_a_bucket_that_is_not_there_is_said(http: Http, s3: tuple[str, Any]) -> None:
    copy = S3Copy(http, Bucket(s3[0], "eu-central-1", "nowhere"), ACCESS, system_clock)
    with pytest.raises(OutsideError, match="404"):
        await copy.put(each(FILES), FIRST)
    with pytest.raises(OutsideError, match="404"):
        await copy.held()


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_our_signature_is_that_of_the_sdk(method: str) -> None:
    now = datetime(2026, 3, 1, 3, 0, 0, tzinfo=UTC)
    address, body = "https://s3.example.org:9000/bucket/tocsin/tile/0/x001/234.p/5", b"content"
    headers = {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-checksum-sha256": "AAAA"}
    ours = sign(ACCESS, "eu-central-1", now, method, address, body, headers)
    asked = AWSRequest(method, address, data=body, headers=headers)
    theirs = S3SigV4Auth(BotoCredentials(ACCESS.access_key, ACCESS.secret), "s3", "eu-central-1")
    asked.context["timestamp"] = "20260301T030000Z"
    asked.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    asked.headers["X-Amz-Date"] = "20260301T030000Z"
    text = theirs.string_to_sign(asked, theirs.canonical_request(asked))
    assert ours["Authorization"].endswith(f"Signature={theirs.signature(text, asked)}")
