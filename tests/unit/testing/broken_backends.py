"""One sound backend, and one that breaks each rule of the contract: what the kit has to tell apart."""

import logging
import os
import socket
import threading
import time
import urllib.request

import msgspec
import pydantic
import urllib3
from pydantic import Field, SecretStr

from gatewayz import (
    Backend,
    BackendSettings,
    Misconfigured,
    Refused,
    Rejected,
    Retry,
    hookimpl,
    raise_for_answer,
)


class Sound(Backend):
    """Keeps every rule (but a total deadline: see `Dripping`)."""

    class Settings(BackendSettings):
        url: str = Field(description="Where to post.")
        token: SecretStr = Field(description="The bearer token.")

    def __init__(self, settings):
        super().__init__(settings)
        self.http = urllib3.PoolManager(retries=False)

    @hookimpl
    def on_start(self, event):
        return None

    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id, "end": event.end_time_ns, "output": event.output}

    @hookimpl
    def on_score(self, event, score):
        return {"trace": event.trace_id, "span": event.span_id, "value": score.value}

    def ask(self, records, timeout_s, **options):
        token = self.settings.token.get_secret_value()
        return self.http.request(
            "POST",
            self.settings.url,
            json=list(records),
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            redirect=False,
            **options,
        )

    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        raise_for_answer(answer.status, answer.headers, answer.data)

    def check(self):
        self.export([], self.settings.timeout_s)
        return "it answered"


# -- settings, hooks, construction -----------------------------------------------------------------


class ForeignSettings(Sound):
    class Settings(pydantic.BaseModel):
        url: str = ""


class UnmarkedHook(Sound):
    def on_end(self, event):
        return {"id": event.span_id}


class AsyncHook(Sound):
    @hookimpl
    async def on_end(self, event):
        return {"id": event.span_id}


class GeneratorHook(Sound):
    @hookimpl
    def on_end(self, event):
        yield {"id": event.span_id}


class UnknownArgument(Sound):
    @hookimpl
    def on_end(self, event, usage):
        return {"id": event.span_id, "usage": usage}


class MisspelledHook(Sound):
    @hookimpl
    def on_finish(self, event):
        return {"id": event.span_id}


class WithoutHooks(Backend):
    pass


class ConnectsAtConstruction(Sound):
    def __init__(self, settings):
        super().__init__(settings)
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.2).close()
        except OSError:
            self.reached = False


class StartsAThread(Sound):
    def __init__(self, settings):
        super().__init__(settings)
        thread = threading.Thread(target=time.sleep, args=(0,), daemon=True)
        thread.start()


class WritesAFile(Sound):
    def __init__(self, settings):
        super().__init__(settings)
        with open(os.path.join("/tmp", f"kit-{os.getpid()}"), "w") as file:  # noqa: PTH123, PTH118
            os.unlink(file.name)  # noqa: PTH108


# -- translating -----------------------------------------------------------------------------------


class ReadsTheClock(Sound):
    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id, "at": time.time_ns()}


class ChangesTheEvent(Sound):
    @hookimpl
    def on_end(self, event):
        msgspec.structs.force_setattr(event, "user_id", "masked")
        return {"id": event.span_id}


class SendsWhileTranslating(Sound):
    @hookimpl
    def on_end(self, event):
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=0.2).close()
        except OSError:
            return
        return


class ReadsTheClockAtTheBeginning(Sound):
    @hookimpl
    def on_start(self, event):
        return time.time_ns()


class ExpectsUsage(Sound):
    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id, "tokens": event.usage.input_tokens}


class ExpectsAnEnd(Sound):
    @hookimpl
    def on_start(self, event):
        return event.end_time_ns - event.start_time_ns


class CannotEncodeBigNumbers(Sound):
    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id, "tokens": (event.usage or None) and event.usage.input_tokens}

    @hookimpl
    def export(self, records, timeout_s):
        for record in records:
            (record.get("tokens") or 0).to_bytes(4, "big")
        Sound.export(self, records, timeout_s)


# -- delivering ------------------------------------------------------------------------------------


class LosesTheLast(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        Sound.export(self, records[: max(1, len(records) - 1)], timeout_s)


class SendsTwice(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        Sound.export(self, records, timeout_s)
        Sound.export(self, records, timeout_s)


class RepeatsTheFirst(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        again = records[:1] if len(records) > 1 else []
        Sound.export(self, [*records, *again], timeout_s)


class SendsNothing(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        return None


class RejectsEverything(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        return [Rejected(0, "no")]


class AnswersTrue(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        Sound.export(self, records, timeout_s)
        return ["delivered"]


class KeepsRecords(Sound):
    def __init__(self, settings):
        super().__init__(settings)
        self.kept = []

    @hookimpl
    def export(self, records, timeout_s):
        self.kept += records
        Sound.export(self, self.kept, timeout_s)


class SendsTheSameOnlyOnce(Sound):
    def __init__(self, settings):
        super().__init__(settings)
        self.seen = set()

    @hookimpl
    def export(self, records, timeout_s):
        fresh = [r for r in records if r["id"] not in self.seen]
        self.seen |= {r["id"] for r in fresh}
        Sound.export(self, fresh, timeout_s)


class ChangesRecords(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        sent = [{"id": record.pop("id"), **record} for record in records]
        Sound.export(self, sent, timeout_s)


class EmptiesTheBatch(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        Sound.export(self, records, timeout_s)
        records.clear()


# -- services that fail ------------------------------------------------------------------------------


class CallsEverythingRetry(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        if answer.status != 200:
            raise Retry(f"HTTP {answer.status}", after_s=7.0)


class CallsEverythingRefused(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        if answer.status != 200:
            raise Refused(f"HTTP {answer.status}")


class NeverLooksAtTheStatus(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        self.ask(records, timeout_s)


class ForgetsRetryAfter(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        raise_for_answer(answer.status, {}, answer.data)


class RetriesItself(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        for _ in range(3):
            answer = self.ask(records, timeout_s)
            if answer.status == 200:
                return
        raise_for_answer(answer.status, answer.headers, answer.data)


class SwallowsErrors(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        try:
            Sound.export(self, records, timeout_s)
        except Exception:
            logging.getLogger(__name__).debug("not sent")


class BlamesTheRecords(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        try:
            Sound.export(self, records, timeout_s)
        except urllib3.exceptions.HTTPError as error:
            raise Refused(str(error)) from None


class HasNoTimeout(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        Sound.export(self, records, None)


class FollowsRedirects(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        if answer.status == 307:
            elsewhere = answer.headers["Location"]
            answer = self.http.request("POST", elsewhere, json=list(records))
        raise_for_answer(answer.status, answer.headers, answer.data)


# -- the whole way -----------------------------------------------------------------------------------


class LosesEveryTenthInTheLane(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        if len(records) > 1:
            records = [r for n, r in enumerate(records) if n % 10]
        Sound.export(self, records, timeout_s)


class CannotStart(Sound):
    def startup(self):
        raise Misconfigured("the licence is missing")


# -- living ------------------------------------------------------------------------------------------


class ShowsItsToken(Sound):
    def __repr__(self):
        return f"ShowsItsToken({self.settings.token.get_secret_value()})"


class TokenInTheException(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        answer = self.ask(records, timeout_s)
        if answer.status == 401:
            raise Misconfigured(f"wrong token {self.settings.token.get_secret_value()}")
        raise_for_answer(answer.status, answer.headers, answer.data)


class TokenInTheLog(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        logging.getLogger(__name__).debug("as %s", self.settings.token.get_secret_value())
        Sound.export(self, records, timeout_s)


class TokenInTheRecord(Sound):
    @hookimpl
    def on_end(self, event):
        return {"id": event.span_id, "auth": [self.settings.token.get_secret_value()]}


class TokenInTheDestination(Sound):
    def destination(self):
        return f"https://{self.settings.token.get_secret_value()}@example.com"


class SharesItsAddress(Sound):
    url = ""

    def __init__(self, settings):
        super().__init__(settings)
        SharesItsAddress.url = settings.url

    @hookimpl
    def export(self, records, timeout_s):
        request = urllib.request.Request(
            self.url, data=msgspec.json.encode(list(records)), method="POST"
        )
        urllib.request.urlopen(request, timeout=timeout_s).close()


class SharesItsPool(Sound):
    closed = False

    @hookimpl
    def export(self, records, timeout_s):
        if SharesItsPool.closed:
            raise Retry("the pool is closed")
        Sound.export(self, records, timeout_s)

    def startup(self):
        SharesItsPool.closed = False

    def shutdown(self, timeout_s):
        SharesItsPool.closed = True


class StartsOnce(Sound):
    started = False

    def startup(self):
        if self.started:
            raise RuntimeError("already started")
        self.started = True


class StopsOnlyAfterStarting(Sound):
    def startup(self):
        self.pool = self.http

    def shutdown(self, timeout_s):
        self.pool.clear()


class NeverStops(Sound):
    def shutdown(self, timeout_s):
        threading.Event().wait(10)


HOME = os.getpid()


class LivesInOneProcess(Sound):
    @hookimpl
    def export(self, records, timeout_s):
        if os.getpid() != HOME:
            raise RuntimeError("this connection belongs to another process")
        Sound.export(self, records, timeout_s)


class ChecksNothing(Sound):
    def check(self):
        return "fine"


class ChecksTheAnswerNot(Sound):
    def check(self):
        self.ask([], self.settings.timeout_s)
        return "it answered"


class FailsItsCheck(Sound):
    def check(self):
        raise Misconfigured("always")


class ContentWithADeadService(Sound):
    def check(self):
        try:
            answer = self.ask([], self.settings.timeout_s)
        except urllib3.exceptions.HTTPError:
            return "not there"
        raise_for_answer(answer.status, answer.headers, answer.data)
        return "it answered"
