"""Where scores go and traces are read back: the REST APIs of Phoenix and of Arize."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatewayz import Refused, Rejected
from gatewayz_arize.http import NoJson
from gatewayz_arize.scores import ScoreRecord, arize_values, phoenix_annotation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayz_arize.http import JsonClient

__all__ = ["ArizeApi", "Indexed", "PhoenixApi"]

Indexed = tuple[int, ScoreRecord]
"""A score and its place in the batch."""

# Statuses that concern this call alone: traces must not wait for them.
_REFUSALS = frozenset({403, 404, 405})
_NO_API = (
    "nobody can know where the REST API of this {what} is; set ARIZE_API_ENDPOINT{example} to send "
    "scores there"
)


class PhoenixApi:
    """Phoenix's annotations; the server keeps one that is earlier than its span until that arrives."""

    def __init__(self, client: JsonClient | None, project: str) -> None:
        self._client = client
        self._project = quote(project, safe="")

    def annotate(self, scores: Sequence[Indexed], timeout_s: float) -> list[Rejected]:
        """Upsert the scores; return those that were refused, or raise what the lane acts on."""
        if self._client is None:
            reason = _NO_API.format(what="Phoenix", example=", like http://127.0.0.1:6006,")
            return [Rejected(index, reason) for index, _ in scores]
        until = time.monotonic() + timeout_s
        rejected = [
            Rejected(index, "Phoenix keeps the name 'note' for notes; name the score differently")
            for index, record in scores
            if record.name == "note"
        ]
        good = [(index, record) for index, record in scores if record.name != "note"]
        for path, chosen in (
            ("/v1/span_annotations", [x for x in good if x[1].span_id is not None]),
            ("/v1/trace_annotations", [x for x in good if x[1].span_id is None]),
        ):
            if not chosen:
                continue
            body = {"data": [phoenix_annotation(record) for _, record in chosen]}
            try:
                # Not waiting means that the span need not be there yet.
                self._client.send(f"{path}?sync=false", body, until - time.monotonic(), _REFUSALS)
            except Refused as error:
                if len(chosen) > 1:
                    raise
                rejected.append(Rejected(chosen[0][0], str(error)))
        return rejected

    def read_back(self, trace_id: str, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the trace's spans as Phoenix tells them; empty where it has none yet."""
        if self._client is None:
            return None
        path = f"/v1/projects/{self._project}/spans"
        try:
            found = self._client.get(
                path, {"trace_id": trace_id, "limit": "1000"}, timeout_s, {404}
            )
        except Refused:  # the project arrives with its first span
            return {}
        return _spans(found, "data")


class ArizeApi:
    """Arize's annotations. A score whose span it does not show yet becomes a span by itself."""

    def __init__(
        self,
        client: JsonClient | None,
        space_id: str,
        project: str,
        fall_back: Callable[[Sequence[Indexed], float], list[Rejected]],
    ) -> None:
        """Keep who is asked; `fall_back` sends scores as spans, within so many seconds."""
        self._client = client
        self._space_id = space_id
        self._project = project
        self._fall_back = fall_back
        self._project_id: str | None = None

    def annotate(self, scores: Sequence[Indexed], timeout_s: float) -> list[Rejected]:
        """Upsert the scores; return those that were refused, or raise what the lane acts on.

        Arize writes all of a request or nothing: it refuses a span that it does not show yet (a
        span is visible some time after it was taken) and a name without an annotation config.
        Waiting would hold the traces up, so such scores are sent as EVALUATOR spans instead.
        """
        until = time.monotonic() + timeout_s
        if self._client is not None:
            try:
                self._annotate(self._client, scores, until)
            except (NoJson, Refused):
                pass
            else:
                return []
        return self._fall_back(scores, until - time.monotonic())

    def _annotate(self, client: JsonClient, scores: Sequence[Indexed], until: float) -> None:
        project_id = self._find_project(client, until)
        spans = [(r.span_id, r) for _, r in scores if r.span_id is not None]
        traces = [r for _, r in scores if r.span_id is None]
        roots = [(self._find_root(client, project_id, r.trace_id, until), r) for r in traces]
        for granularity, judged in (("SPAN", spans), ("TRACE", roots)):
            if judged:
                body = {
                    "project_id": project_id,
                    "granularity": granularity,
                    "annotations": arize_values(judged),
                }
                client.send("/v2/spans/annotate", body, until - time.monotonic(), _REFUSALS)

    def read_back(self, trace_id: str, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the trace's spans as Arize tells them; empty where it shows none yet."""
        if self._client is None:
            return None
        until = time.monotonic() + timeout_s
        try:
            project_id = self._find_project(self._client, until)
            return _spans(self._find_spans(self._client, project_id, trace_id, until), "spans")
        except Refused:
            return {}

    def _find_project(self, client: JsonClient, until: float) -> str:
        if self._project_id is None:
            query = {"space_id": self._space_id, "name": self._project, "limit": "100"}
            found = client.get("/v2/projects", query, until - time.monotonic(), _REFUSALS)
            projects = found.get("projects") if isinstance(found, dict) else None
            for project in projects if isinstance(projects, list) else ():
                # The API may find names that only contain this one.
                if isinstance(project, dict) and project.get("name") == self._project:
                    self._project_id = str(project.get("id"))
                    break
            else:
                msg = f"Arize shows no project {self._project!r} in this space yet"
                raise Refused(msg)
        return self._project_id

    def _find_spans(self, client: JsonClient, project_id: str, trace_id: str, until: float) -> Any:
        body = {"project_id": project_id, "filter": f"context.trace_id = '{trace_id}'"}
        return client.search("/v2/spans?limit=500", body, until - time.monotonic(), _REFUSALS)

    def _find_root(self, client: JsonClient, project_id: str, trace_id: str, until: float) -> str:
        found = _spans(self._find_spans(client, project_id, trace_id, until), "spans")
        for span in found.get("spans", ()):
            context = span.get("context") if isinstance(span, dict) else None
            if isinstance(context, dict) and not span.get("parent_id") and context.get("span_id"):
                return str(context["span_id"])
        msg = "Arize shows no root span of this trace yet"
        raise Refused(msg)


def _spans(answer: Any, name: str) -> Mapping[str, Any]:
    found = answer.get(name) if isinstance(answer, dict) else None
    return {"spans": found} if isinstance(found, list) and found else {}
