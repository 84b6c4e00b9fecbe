"""Opens the engine of a run: folder to folder on all cores or on Spark, everything else batch by batch in this process."""

from contextlib import ExitStack
from datetime import datetime
from typing import Any, NamedTuple

from screener.assessment.identity import device_uuid
from screener.assessment.reconcile import Rules
from screener.assessment.resource import device
from screener.assessment.validate import Validator
from screener.base.errors import of_extra
from screener.config.settings import FolderSettings, Settings
from screener.fhir.time import instant_text
from screener.run.batch_engine import BatchEngine
from screener.run.comparison import shows_of
from screener.run.counts import RunTally
from screener.run.deciding import Stores
from screener.run.engine import Engine
from screener.run.folder_engine import FolderEngine, ShardTask
from screener.run.limits import Shows
from screener.run.opening import open_destination, open_destination_folder, open_source
from screener.run.options import Options
from screener.run.pending import Pending
from screener.run.servers import Servers
from screener.run.site import Site


class Ready(NamedTuple):
    """An engine, the instant as of which its source is true, and what its servers can be asked for the comparison."""

    engine: Engine[Any]
    as_of: datetime
    shows: Shows


def open_engine(
    settings: Settings, options: Options, site: Site, servers: Servers, tally: RunTally, stack: ExitStack
) -> Ready:
    """Open source and destination, and the engine between them. `tally` gets the counts."""
    if options.engine == "spark":
        engine = _spark_engine(settings.folder, options, site, servers.clock, tally, stack)
        return Ready(engine, servers.clock, shows_of(None, None))
    opened = open_source(settings, options, site, servers, stack)
    now = options.now or opened.as_of
    if opened.folder and options.to_folder and not options.limit:
        canonical = site.writer.canonical
        folder = open_destination_folder(options.to_folder, canonical, now, settings.folder.temporary, stack)
        task = _shard_task(options, site, site.rules(now, folder.prepare(site.writer), options.run_id), now, tally)
        return Ready(FolderEngine(opened.folder, folder, task, tally), opened.as_of, shows_of(opened.server, None))
    destination = open_destination(settings, options, site, servers, opened, stack)
    rules = site.rules(now, destination.prepare(site.writer), options.run_id)
    validator = Validator(every=options.to_folder is None)
    pending = None if destination.keeps_until_finish else stack.enter_context(Pending())
    batches = BatchEngine(Stores(opened.source, destination), rules, validator, tally, pending)
    return Ready(batches, opened.as_of, shows_of(opened.server, destination))


def _shard_task(options: Options, site: Site, rules: Rules, now: datetime, tally: RunTally) -> ShardTask:
    return ShardTask(rules, site.mapper, site.needs, instant_text(now), options.show_patients, tally.watched)


def _spark_engine(
    settings: FolderSettings, options: Options, site: Site, clock: datetime, tally: RunTally, stack: ExitStack
) -> Engine[Any]:
    with of_extra("spark"):
        from screener.run.spark_engine import Locations, SparkEngine, spark_session  # noqa: PLC0415 - an extra
    now = options.now or clock
    name = device_uuid(site.writer.source_system)
    task = _shard_task(options, site, site.rules(now, f"Device/{name}", options.run_id), now, tally)
    locations = Locations(options.source_uri, options.destination_uri)
    device_ = {"id": name, **device(site.writer)}
    return SparkEngine(stack.enter_context(spark_session()), task, locations, settings, device_, tally)
