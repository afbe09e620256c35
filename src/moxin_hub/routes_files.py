"""Endpoints that carry files: what to upload how, big files in, commits in, files out."""

import base64
import binascii
from pathlib import Path
from typing import Any

from dulwich.objects import ObjectID
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from moxin_hub import lfs, refused, tree
from moxin_hub.attributes import Rules
from moxin_hub.auth import Role
from moxin_hub.commits import Draft
from moxin_hub.errors import HubError, bad_request, entry_not_found
from moxin_hub.lfs import Upload
from moxin_hub.streaming import StoredFile
from moxin_hub.web import Call, Router, member

router = Router()
_MOST_FILES = 1000  # in one preupload or batch request
# A file is never rendered by a browser as a page of this Hub. A drawing has colours of its own, and
# a browser shows it as a picture under its name alone.
_SHIELDS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@router.add("POST", "/api/{type}/{repo}/preupload/{revision}", Role.WRITE)
def preupload(call: Call) -> Response:
    """Which files of an upload are big, which are ignored, and what is there already."""
    body, objects = call.json(), call.repository.objects
    commit = call.commit
    root = commit.tree
    ignore = member(body, "gitIgnore", str, "").encode() or tree.read(objects, root, ".gitignore")
    rules = Rules(tree.read(objects, root, ".gitattributes"), ignore)
    answer = []
    for file in _objects(body, "files"):
        path, size = member(file, "path", str), member(file, "size", int)
        try:
            sample = base64.b64decode(member(file, "sample", str, ""), validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("`sample` is base64") from None
        big = rules.is_big(tree.check_path(path), size, sample)
        item: dict[str, Any] = {"path": path, "uploadMode": "lfs" if big else "regular"}
        item["shouldIgnore"] = rules.is_ignored(path)
        if (oid := _stored(call, root, path)) is not None:
            item["oid"] = oid
        answer.append(item)
    return JSONResponse({"files": answer, "commitOid": commit.id.decode()})


@router.add("POST", "/{prefix}{repo}.git/info/lfs/objects/batch", Role.WRITE)
def batch(call: Call) -> Response:
    """Where to send each big file; no actions for those that are here already."""
    body = call.json()
    in_parts = "multipart" in member(body, "transfers", list, ["basic"])
    with call.store.collecting():
        answer = [_announced(call, wanted, in_parts) for wanted in _objects(body, "objects")]
    transfer = "multipart" if in_parts else "basic"
    answer_type = "application/vnd.git-lfs+json"
    return JSONResponse({"transfer": transfer, "objects": answer}, media_type=answer_type)


@router.add("PUT", "/lfs/upload")
async def put(call: Call) -> Response:
    """One big file, or one part of it. The URL is signed and needs no token."""
    fields = call.gate.verify("upload", call.raw_query)
    upload, etag = _upload(fields), fields["oid"]
    if "part" not in fields:
        await call.store.files.receive(upload, call.request.stream())
    else:
        part, chunks = int(fields["part"]), call.request.stream()
        etag = await call.store.files.receive_part(upload, part, chunks)
    return Response(headers={"ETag": f'"{etag}"'})


@router.add("POST", "/lfs/complete")
async def complete(call: Call) -> Response:
    """All parts were sent. The URL is signed and needs no token."""
    upload = _upload(call.gate.verify("upload", call.raw_query))
    await call.read_body()
    await call.store.files.complete(upload, lfs.parse_parts(call.json()))
    return JSONResponse({})


@router.add("POST", "/api/{type}/{repo}/commit/{revision}", Role.WRITE)
async def commit(call: Call) -> Response:
    if call.flag("create_pr"):
        raise refused.refusal(refused.DISCUSSIONS)
    draft = Draft(call.repository, call.store)
    await draft.read(call.request.stream())
    made = (await run_in_threadpool(draft.finish, call.args["revision"])).decode()
    url = f"{call.endpoint}/{call.repository.info.path}/commit/{made}"
    return JSONResponse({"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})


@router.add("GET", "/{prefix}{repo}/resolve/{revision}/{path*}")
def resolve(call: Call) -> Response:
    """A file's bytes, whole or in a range."""
    objects, commit = call.repository.objects, call.commit
    headers = {"X-Repo-Commit": commit.id.decode()}
    try:
        entry = tree.find(objects, commit.tree, tree.check_path(call.args["path"]))
        if entry.is_folder:
            raise entry_not_found()
        source, size, etag = _source(call, entry.oid)
    except HubError as error:
        missing = error if error.status == 404 else entry_not_found()
        missing.headers.update(headers)
        raise missing from None
    headers |= {"ETag": f'"{etag}"', **_SHIELDS}
    if isinstance(source, Path):
        headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(size)}
    if entry.path.endswith(".svg"):
        headers["Content-Type"] = "image/svg+xml"
    return StoredFile(source, size, commit.commit_time, headers)


def _source(call: Call, blob: ObjectID) -> tuple[Path | bytes, int, str]:
    """Where a blob's bytes are (a path, or the bytes), their number, and their etag."""
    objects, files = call.repository.objects, call.store.files
    content = objects.content(blob)
    if content.lfs is None:
        data = b"" if call.request.method == "HEAD" else objects.blob(blob)
        return data, content.size, blob.decode()
    if files.size(content.lfs) != content.size:
        raise entry_not_found("The bytes of this big file are not in this Hub")
    return files.path(content.lfs), content.size, content.lfs


def _announced(call: Call, wanted: dict[str, Any], in_parts: bool) -> dict[str, Any]:
    """A batch's answer about one object."""
    oid, size = member(wanted, "oid", str), member(wanted, "size", int)
    if size < 0:
        raise bad_request("`size` is negative")
    item: dict[str, Any] = {"oid": oid, "size": size}
    if call.store.files.touch(oid) is None:
        try:
            upload = call.store.files.announce(oid, size)
            item["actions"] = {"upload": _action(call, upload, in_parts)}
        except HubError as error:
            item["error"] = {"code": error.status, "message": error.message}
    return item


def _action(call: Call, upload: Upload, in_parts: bool) -> dict[str, Any]:
    """The upload instructions of one object: one signed URL, or one for each part."""
    fields: dict[str, str | int] = {"id": upload.id, "oid": upload.oid, "size": upload.size}
    to = f"{call.endpoint}/lfs/upload"
    if not in_parts or upload.parts <= 1:
        return {"href": call.gate.sign_upload(to, fields)}
    header = {"chunk_size": str(upload.part_size)}
    for number in range(1, upload.parts + 1):
        header[f"{number:05}"] = call.gate.sign_upload(to, {**fields, "part": number})
    done = call.gate.sign_upload(f"{call.endpoint}/lfs/complete", {**fields, "complete": 1})
    return {"href": done, "header": header}


def _upload(fields: dict[str, str]) -> Upload:
    return Upload(fields["id"], fields["oid"], int(fields["size"]))


def _objects(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = member(body, name, list)
    if len(items) > _MOST_FILES or not all(isinstance(item, dict) for item in items):
        raise bad_request(f"`{name}` is a list of at most {_MOST_FILES} objects")
    return items


def _stored(call: Call, root: ObjectID, path: str) -> str | None:
    """The id by which a client tells that a file is unchanged: sha256 for big files, else git's.

    None also for a big file whose bytes were lost, so that the client sends them again.
    """
    objects = call.repository.objects
    entry = tree.look(objects, root, path)
    if entry is None or entry.is_folder:
        return None
    content = objects.content(entry.oid)
    if content.lfs is None:
        return entry.oid.decode()
    return content.lfs if call.store.files.size(content.lfs) == content.size else None
