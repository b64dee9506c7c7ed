"""Puts the parts together, runs them, and takes them down in order."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType

from flask import Flask

from server import custom_labels, hub, logs, system
from server.access.auth import Access
from server.access.hosts import guard
from server.access.origins import Origins
from server.access.refusals import Refusals
from server.access.usage import Usage
from server.alerting.alerts import Announcer
from server.alerting.alerts import announce as announcing
from server.cluster.service import Service
from server.config import Config, ConfigError
from server.counts import SharedCounts
from server.desk import others
from server.desk.board import Board
from server.desk.boards import Boards
from server.desk.monitor import Monitor
from server.desk.others import WholeBoard
from server.doors.audiosocket import AudioSocketDoor
from server.doors.chan_websocket import add_chan_websocket_door
from server.doors.freeswitch import add_freeswitch_door
from server.doors.genesys import add_genesys_door
from server.doors.telnyx import add_telnyx_door
from server.doors.twilio import add_twilio_door
from server.doors.websocket import add_websocket_door
from server.engine import Engine
from server.engine.process import ProcessEngine
from server.http.asyncapi import add_asyncapi_route
from server.http.client_files import add_client_routes
from server.http.cors import allow_origins
from server.http.docs import add_docs_routes
from server.http.handshake import refuse_polling, require_websocket_13
from server.http.pages import ServerState, add_routes
from server.http.request_log import add_request_log
from server.http.token_routes import add_token_routes
from server.live.load import Load
from server.live.namespace import LiveNamespace, socket_server
from server.live.registry import Sessions
from server.live.watch import LoadWatch
from server.metrics import Metrics
from server.paths import STATIC
from server.peer import Proxies
from server.ready import announce
from server.records.recording import Recorder
from server.records.routes import add_record_routes
from server.uploads.pool import UploadWorkerPool
from server.uploads.routes import add_recognition_routes
from server.uploads.service import Uploads
from server.workers import pages
from server.workers.link import Place, SharedEngine, WorkerLink
from stream.custom_labels import CustomLabels
from stream.types import JsonDict

log = logging.getLogger("server")

REAP_S = 1.0
STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Application:
    """A server's parts, not yet listening."""

    flask: Flask
    sessions: Sessions
    live: LiveNamespace
    monitor: Monitor
    audiosocket: AudioSocketDoor
    uploads: Uploads
    recorder: Recorder
    announcer: Announcer
    load: LoadWatch
    access: Access
    refusals: Refusals
    metrics: Metrics
    counts: SharedCounts


def build(
    config: Config,
    engine: Engine,
    labels: CustomLabels | None = None,
    link: WorkerLink | None = None,
    service: Service | None = None,
    counts: SharedCounts | None = None,
) -> Application:
    """Wire the parts around an engine. Nothing runs yet. `link`: to other workers, `service`: to other servers,
    where there are any; `counts`: what all of them have."""
    counts = counts or SharedCounts.alone()
    flask = Flask("emotion-stream", static_folder=str(STATIC), static_url_path="/static")
    metrics = Metrics()
    limits = config.limits
    metrics.allow(config)
    metrics.watch_engine(engine.health, lambda: engine.spec)
    boards = Boards(config.monitor.ended_ttl_s)
    announcer = announcing(config, metrics)
    recorder = Recorder(config, metrics)
    keeps = config.recording
    load = LoadWatch(limits.max_lag_ms / 1000, limits.max_sessions == "auto", metrics, counts)
    metered = config.files.folder if config.access.keys_file else None
    usage = Usage(metered, link.place.worker if link else 0, link.place.n_workers if link else 1)
    sessions = Sessions(
        config,
        engine,
        metrics,
        (boards, announcer, *([recorder] if keeps.sessions else [])),
        recorder if keeps.audio else None,
        labels,
        load,
        counts,
        link.elsewhere if link else service.of_one_process() if service else None,
        usage,
    )

    def tell_board(asked: JsonDict) -> JsonDict:
        return others.answer(boards, asked, time.monotonic())

    if link is not None:
        link.answering["release"] = partial(_release, sessions)
        link.answering["board"] = tell_board
    if service is not None:
        service.serve(sessions, metrics)
        service.member.questions.answering["board"] = tell_board
    origins, refusals = Origins(config.server.cors_origins), Refusals()
    access = Access(config, hub.os_thread, usage)
    sockets = socket_server(flask, config, origins, metrics).server
    flask.wsgi_app = require_websocket_13(flask.wsgi_app)  # type: ignore[method-assign, assignment]
    if link is not None:
        flask.wsgi_app = refuse_polling(flask.wsgi_app, config.server.language)  # type: ignore[method-assign, assignment]
    live = LiveNamespace(sockets, config, sessions, access, metrics, refusals, counts)
    add_websocket_door(flask, config, live, sessions, metrics)
    add_twilio_door(flask, config, live, sessions, metrics)
    add_telnyx_door(flask, config, live, sessions, metrics)
    add_freeswitch_door(flask, config, live, sessions, metrics)
    add_genesys_door(flask, config, live, sessions, metrics)
    add_chan_websocket_door(flask, config, live, sessions, metrics)
    ask = partial(_ask_others, link, service) if link or service else None

    def board_of(tenant: str) -> Board | WholeBoard:
        board = boards.of(tenant)
        return WholeBoard(board, ask, tenant) if ask else board

    monitor = Monitor(sockets, config, board_of, access, metrics, refusals, counts)
    add_request_log(flask)
    add_client_routes(flask)
    add_asyncapi_route(flask)
    add_docs_routes(flask)
    allow_origins(flask, origins)
    uploads = Uploads(config, UploadWorkerPool(config, engine), metrics, announcer.on_file, usage)
    state = ServerState(
        sessions,
        counts,
        partial(pages.of_all, link, metrics) if link else metrics.render,
        link.place.started_s if link else time.monotonic(),
        load.status,
        uploads.references.not_ready,
        (lambda: service.status(sum(counts.each("sessions")))) if service else None,
        (lambda: service.degraded) if service else lambda: None,
    )
    add_routes(flask, config, engine, metrics, state, access, refusals)
    add_recognition_routes(flask, config, uploads, access, metrics)
    add_token_routes(flask, access)
    add_record_routes(flask, recorder.stores, sessions, access)
    guarded = guard(flask.wsgi_app, config.server, origins, metrics, refusals)
    flask.wsgi_app = guarded  # type: ignore[method-assign, assignment]
    return Application(
        flask,
        sessions,
        live,
        monitor,
        AudioSocketDoor(config, live, sessions, metrics),
        uploads,
        recorder,
        announcer,
        load,
        access,
        refusals,
        metrics,
        counts,
    )


def serve(config: Config, place: Place | None = None) -> int:
    """Serve until SIGTERM, Ctrl-C or the end of the terminal; as one of several workers, where it has a `place`.

    The exit status: 0 after a clean end, 1 when it could not start.
    """
    logs.configure(config.server.log_level, config.server.log_format, hub.os_thread)
    for warning in () if place else config.warnings:
        log.warning("%s", warning)
    _allow_files(config.limits.max_connections)
    try:
        labels = custom_labels.load(config)
    except ConfigError as wrong:
        log.error("%s", wrong)
        return 1
    where = config.server
    link: WorkerLink | None = None
    counts = place.counts if place else SharedCounts.alone(config.redis.key)
    service: Service | None = None
    if config.redis.url:
        name, process = (place.server, place.inbox) if place else (Service.new_name(), "only")
        try:
            service = Service(config, counts, name, process)
        except ConfigError as wrong:
            log.error("%s", wrong)
            return 1
    if place:
        config = config.of_worker
        link = WorkerLink(place, config.engine_settings, service.register if service else None)
    engine = link.engine if link else ProcessEngine(config.engine_settings, where.log_level, where.log_format)
    try:
        app = build(config, engine, labels, link, service, counts)
    except ConfigError as wrong:  # the keys cannot be read
        log.error("%s", wrong)
        return 1
    _keep_live(app, engine)
    try:
        bound, calls = _listening(config, place)
    except OSError as taken:
        log.error("cannot listen on %s", taken)
        return 1
    port = bound.getsockname()[1]
    limits = _connection_limits(config)
    http, connections = hub.http_server(
        where.async_mode, bound, app.flask, limits, app.metrics.cut, app.counts
    )
    app.metrics.sockets.set_function(lambda: float(len(connections)))
    phones = None if calls is None else hub.TcpServer(calls, connections, app.audiosocket.converse)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in system.ENDING:
        if signal.getsignal(number) != signal.SIG_IGN or number in STOPPING:  # nohup asks to stay
            signal.signal(number, on_signal)
    if link is not None:
        system.ignore_terminal()  # it is the parent who is asked to stop
        link.on_orphaned = stop.set
        link.answering["metrics"] = lambda _: {"families": pages.families(app.metrics)}
    engine.start()
    if service is not None:
        service.start()
    app.load.start()
    app.uploads.start()
    app.recorder.start()
    app.access.audit.start()
    app.announcer.start()
    broken: list[str] = []  # why nobody can connect any more

    def listen() -> None:
        try:
            http.serve()
        except Exception as wrong:
            log.exception("no longer listening")
            broken.append(str(wrong))
        stop.set()  # a server that nobody can reach had better end, and be started again

    threading.Thread(target=listen, name="http", daemon=True).start()
    if phones is not None:
        phones.start()
    if link is None:
        log.info("listening on http://%s:%d, loading model %s", where.host, port, config.model.name)
    fatal = _run(
        config, engine, app, labels, stop, link.ready if link else partial(_announce, config, engine, port)
    )
    if phones is not None:
        phones.shutdown()
    _end(config, app, engine, http, service)
    return 1 if fatal or broken else 0


def _listening(config: Config, place: Place | None) -> tuple[socket.socket, socket.socket | None]:
    """The sockets of HTTP and of AudioSocket, where that is served. Raises OSError."""
    if place is None:
        return hub.listen_all(config.server.host, config.server.port, config.doors.audiosocket_port)
    calls = None if place.audiosocket is None else hub.inherited(place.audiosocket)
    return hub.inherited(place.listening), calls


def _ask_others(
    link: WorkerLink | None, service: Service | None, question: str, fields: JsonDict
) -> list[JsonDict]:
    """What other workers and other servers answer; whoever takes too long is left out."""
    workers = list(link.ask(question, fields).values()) if link else []
    return workers + (service.member.ask(question, fields) if service else [])


def _release(sessions: Sessions, asked: JsonDict) -> JsonDict:
    """Another worker asks for a session."""
    try:
        return {"events": sessions.release(asked["token"], asked["received"])}
    except KeyError:
        return {}


def _keep_live(app: Application, engine: ProcessEngine | SharedEngine) -> None:
    """What is measured, and what is done about it (`server.live.load`)."""

    def on_batch(n_windows: int, infer_s: float, background: bool) -> None:
        app.metrics.batch(n_windows, infer_s)
        if not background:
            app.load.batch(infer_s / engine.n_up)  # of the time that all replicas have

    def on_level(load: Load) -> None:
        engine.pause_files(load.files_paused)
        app.sessions.slow_down(load.slowdown, load.level)

    engine.on_batch = on_batch
    app.load.lags, app.load.shed, app.load.on_level = app.sessions.lags, app.sessions.shed, on_level


def _connection_limits(config: Config) -> hub.ConnectionLimits:
    """What connections may take, below any message."""
    limits = config.limits
    return hub.ConnectionLimits(
        connections=limits.sockets,
        per_peer=limits.sockets_per_peer or limits.sockets // 2,
        half_open=limits.max_connections,
        head_s=limits.head_timeout_s,
        body_s=limits.body_timeout_s,
        body_rate=limits.body_bytes_per_s,
        excess_per_s=limits.excess_per_s,
        shared=Proxies(config.server.trusted_proxies).trust,
    )


def _allow_files(connections: int) -> None:
    """As many file descriptors as the system lets us have; a warning when that is less than was promised."""
    allowed = system.allow_open_files()
    if allowed is not None and allowed < connections + 200:
        log.warning(
            "limits.max_connections is %d, but only %d files may be open (ulimit -n)", connections, allowed
        )


def _run(
    config: Config,
    engine: ProcessEngine | SharedEngine,
    app: Application,
    labels: CustomLabels | None,
    stop: threading.Event,
    on_ready: Callable[[], None],
) -> bool:
    """Look after the sessions until told to stop; True when the model can never load."""
    announced = False
    while not stop.wait(REAP_S if announced else 0.05):
        if engine.health().fatal:
            log.error("%s", engine.health().error)
            return True
        if engine.spec and not announced:
            announced = True
            try:
                config.stream_config(engine.spec)
                if labels:
                    custom_labels.check(
                        labels, engine, config.engine.heartbeat_timeout_s or engine.spec.heartbeat_timeout_s
                    )
                app.uploads.references.learn(stop.is_set)
            except ConfigError as wrong:
                log.error("%s", wrong)
                return True
            on_ready()
        if announced:
            app.sessions.reap()
            app.live.reap()
            app.monitor.drop_revoked()
            app.refusals.reap()
    return False


def _announce(config: Config, engine: Engine, port: int) -> None:
    assert engine.spec is not None
    announce(config.server, port, engine.spec)


def _end(
    config: Config, app: Application, engine: Engine, http: hub.HttpServer, service: Service | None
) -> None:
    log.info("shutting down: %d sessions to finish", len(app.sessions))
    app.load.close()
    app.uploads.close()
    app.sessions.drain(config.server.drain_s)
    app.announcer.close()
    app.recorder.close()
    app.monitor.drain()
    app.live.drain()
    app.access.audit.close()
    http.shutdown()
    if service is not None:
        service.close()
    engine.close()
    log.info("stopped")
    # From here on the interpreter would give an impatient second Ctrl-C its default meaning: an exit status not 0.
    for number in system.ENDING:
        signal.signal(number, signal.SIG_IGN)
