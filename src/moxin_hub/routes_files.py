"""Endpoints that carry files: what to upload how, big files in, commits in, files out."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from dulwich.objects import ObjectID
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from moxin_hub import attributes, lfs, purge, streaming, tree
from moxin_hub.auth import Role
from moxin_hub.commits import Draft
from moxin_hub.errors import HubError, bad_request, entry_not_found
from moxin_hub.lfs import Upload
from moxin_hub.repository import Repository, timestamp
from moxin_hub.web import Call, Router, member

router = Router()
_MOST_FILES = 1000  # in one preupload or batch request
_LARGEST_FILE = 1 << 45


@router.add("POST", "/api/{type}/{repo}/preupload/{revision}", Role.WRITE)
def preupload(call: Call) -> Response:
    """Which files of an upload are big, which are ignored, and what is there already."""
    body, repository = call.json(), call.repository
    commit = repository.resolve(call.args["revision"])
    root = repository.objects.commit(commit).tree
    ignored = attributes.Ignored(
        member(body, "gitIgnore", str, "") or _text(repository, root, ".gitignore")
    )
    rules = attributes.parse_attributes(_text(repository, root, ".gitattributes"))
    answer = []
    for file in _objects(body, "files"):
        path, size = member(file, "path", str), member(file, "size", int)
        try:
            sample = base64.b64decode(member(file, "sample", str, ""), validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("`sample` is base64") from None
        big = attributes.is_big(tree.check_path(path), size, sample, rules)
        item: dict[str, Any] = {"path": path, "uploadMode": "lfs" if big else "regular"}
        item["shouldIgnore"] = path in ignored
        if (oid := _stored(call, root, path)) is not None:
            item["oid"] = oid
        answer.append(item)
    return JSONResponse({"files": answer, "commitOid": commit.decode()})


@router.add("POST", "/{prefix}{repo}.git/info/lfs/objects/batch", Role.WRITE)
def batch(call: Call) -> Response:
    """Where to send each big file; no actions for those that are here already."""
    body = call.json()
    if member(body, "operation", str) != "upload":
        raise bad_request("Big files are read through /resolve/")
    if member(body, "hash_algo", str, "sha256") != "sha256":
        raise bad_request("Big files are named by their sha256")
    in_parts = "multipart" in member(body, "transfers", list, ["basic"])
    answer = []
    with call.store.collecting():
        for wanted in _objects(body, "objects"):
            oid, size = member(wanted, "oid", str), member(wanted, "size", int)
            if not 0 <= size < _LARGEST_FILE:
                raise bad_request("`size` is out of range")
            item: dict[str, Any] = {"oid": oid, "size": size}
            if (stored := call.store.files.touch(oid)) is None:
                try:
                    upload = call.store.files.announce(oid, size)
                    item["actions"] = {"upload": _action(call, upload, in_parts)}
                except HubError as error:
                    item["error"] = {"code": error.status, "message": error.message}
            elif stored != size:
                item["error"] = {"code": 422, "message": f"This object has {stored} bytes"}
            answer.append(item)
    transfer = "multipart" if in_parts else "basic"
    answer_type = "application/vnd.git-lfs+json"
    return JSONResponse({"transfer": transfer, "objects": answer}, media_type=answer_type)


@router.add("PUT", "/lfs/upload")
async def put(call: Call) -> Response:
    """One big file, or one part of it. The URL is signed and needs no token."""
    fields = call.gate.verify(dict(call.request.query_params))
    upload = _upload(fields)
    files = call.store.files
    if "part" not in fields:
        await files.receive(upload, call.request.stream())
        return Response(headers={"ETag": f'"{upload.oid}"'})
    etag = await files.receive_part(upload, int(fields["part"]), call.request.stream())
    return Response(headers={"ETag": f'"{etag}"'})


@router.add("POST", "/lfs/complete")
async def complete(call: Call) -> Response:
    """All parts were sent. The URL is signed and needs no token."""
    upload = _upload(call.gate.verify(dict(call.request.query_params)))
    await call.read_body()
    await call.store.files.complete(upload, lfs.parse_parts(call.json()))
    return JSONResponse({})


@router.add("POST", "/api/{type}/{repo}/commit/{revision}", Role.WRITE)
async def commit(call: Call) -> Response:
    draft = Draft(call.repository, call.store)
    await draft.read(call.request.stream())
    create_pr = call.flag("create_pr")
    result = await run_in_threadpool(draft.finish, call.args["revision"], create_pr)
    answer: dict[str, Any] = {"success": True, "commitOid": result.commit}
    answer["commitUrl"] = f"{call.home}/commit/{result.commit}"
    answer["hookOutput"] = ""
    if result.pull_request is not None:
        answer["pullRequestUrl"] = f"{call.home}/discussions/{result.pull_request}"
    return JSONResponse(answer)


@router.add("GET", "/{prefix}{repo}/resolve/(?P<revision>refs/(?:pr|convert)/[^/]+)/{path*}")
@router.add("GET", "/{prefix}{repo}/resolve/{revision}/{path*}")
def resolve(call: Call) -> Response:
    """A file's bytes, whole or in ranges."""
    repository, request = call.repository, call.request
    commit = repository.resolve(call.args["revision"])
    headers = {"X-Repo-Commit": commit.decode()}
    try:
        path = tree.check_path(call.args["path"])
        found = tree.find(repository.objects, repository.objects.commit(commit).tree, path)
        if found.is_folder:
            raise entry_not_found()
        source, size, etag = _source(call, found.oid)
    except HubError as error:
        missing = error if error.status == 404 else entry_not_found()
        missing.headers.update(headers)
        raise missing from None
    headers["ETag"] = f'"{etag}"'
    headers["Content-Type"] = "application/octet-stream"
    # A file is never rendered by a browser as a page of this Hub.
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if not isinstance(source, bytes):
        headers["X-Linked-ETag"] = f'"{etag}"'
        headers["X-Linked-Size"] = str(size)
    span = streaming.requested(request, size, f'"{etag}"')
    return streaming.FileResponse(source, span, headers, request.method == "HEAD")


@router.add("GET", "/api/{type}/{repo}/lfs-files")
def list_big_files(call: Call) -> Response:
    repository, answer = call.repository, []
    for reference, entry in purge.big_files(repository):
        content = repository.objects.content(entry.oid)
        path = call.store.files.path(str(content.lfs))
        item: dict[str, Any] = {"fileOid": entry.oid.decode(), "filename": entry.path}
        item.update(oid=content.lfs, size=content.size, ref=reference.ref)
        item["pushedAt"] = timestamp(path.stat().st_mtime if path.exists() else 0)
        answer.append(item)
    return JSONResponse(answer)


@router.add("POST", "/api/{type}/{repo}/lfs-files/batch", Role.WRITE)
def delete_big_files(call: Call) -> Response:
    """Takes big files out of the whole history, the only way in which they leave a repository."""
    wanted = member(call.json(), "deletions", dict)
    if not member(wanted, "rewriteHistory", bool, True):
        raise bad_request("The local Hub deletes big files with their history only")
    names = member(wanted, "sha", list)
    if len(names) > _MOST_FILES or not all(isinstance(name, str) for name in names):
        raise bad_request(f"`sha` is a list of at most {_MOST_FILES} file ids")
    there = {entry.oid for _, entry in purge.big_files(call.repository)}
    with call.store.collecting():
        purge.purge(call.repository, there & {name.encode() for name in names})
    return JSONResponse({})


def _source(call: Call, blob: ObjectID) -> tuple[Any, int, str]:
    """Where a blob's bytes are (a path, or the bytes), their number, and their etag."""
    content = call.repository.objects.content(blob)
    if content.lfs is None:
        if call.request.method == "HEAD":
            return b"", content.size, blob.decode()
        return call.repository.objects.blob(blob), content.size, blob.decode()
    if call.store.files.size(content.lfs) != content.size:
        raise entry_not_found("The bytes of this big file are not in this Hub")
    return call.store.files.path(content.lfs), content.size, content.lfs


def _action(call: Call, upload: Upload, in_parts: bool) -> dict[str, Any]:
    """The upload instructions of one object: one signed URL, or one for each part."""
    fields: dict[str, str | int] = {"id": upload.id, "oid": upload.oid, "size": upload.size}
    to = f"{call.endpoint}/lfs/upload"
    if not in_parts or upload.parts <= 1:
        return {"href": call.gate.sign(to, fields)}
    header = {"chunk_size": str(upload.part_size)}
    for number in range(1, upload.parts + 1):
        header[f"{number:05}"] = call.gate.sign(to, {**fields, "part": number})
    done = call.gate.sign(f"{call.endpoint}/lfs/complete", {**fields, "complete": 1})
    return {"href": done, "header": header}


def _upload(fields: dict[str, str]) -> Upload:
    return Upload(fields["id"], fields["oid"], int(fields["size"]))


def _objects(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = member(body, name, list)
    if len(items) > _MOST_FILES or not all(isinstance(item, dict) for item in items):
        raise bad_request(f"`{name}` is a list of at most {_MOST_FILES} objects")
    return items


def _text(repository: Repository, root: ObjectID, path: str) -> str:
    """A small text file of a tree, "" if it is not there."""
    try:
        return repository.objects.blob(tree.find(repository.objects, root, path).oid).decode(
            errors="replace"
        )
    except (HubError, KeyError):
        return ""


def _stored(call: Call, root: ObjectID, path: str) -> str | None:
    """The id by which a client tells that a file is unchanged: sha256 for big files, else git's.

    None also for a big file whose bytes were lost, so that the client sends them again.
    """
    objects = call.repository.objects
    try:
        found = tree.find(objects, root, path)
    except HubError:
        return None
    if found.is_folder:
        return None
    content = objects.content(found.oid)
    if content.lfs is None:
        return found.oid.decode()
    return content.lfs if call.store.files.size(content.lfs) == content.size else None
