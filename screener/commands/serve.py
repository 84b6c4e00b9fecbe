"""`screener serve`: the service at the visit (CDS Hooks)."""

import click

from screener.base.errors import ConfigurationError, of_extra
from screener.commands._options import Common, settings_options

EPILOG = """\b
Example (screener.toml):
  [visit]
  address = "127.0.0.1:8099"                   behind a proxy that speaks https
  url = "https://cds.hospital.example"         as clients call it
  client_keys = "/etc/screener/cds-clients.json"
Discovery is at /cds-services.
"""


@click.command(epilog=EPILOG)
@settings_options
def serve(common: Common) -> None:
    """Answer a record system at the visit (CDS Hooks 2.0, patient-view): a card with what the job would say of this patient.

    She is read by the call's prefetch or its access token, never by the job's own credentials, and nothing is written. There is no
    card where there is nothing to say. The service runs until it is stopped.
    """
    from contextlib import ExitStack

    settings = common.settings()
    with of_extra("serve"):
        import uvicorn

        from screener.visit.app import create_app
        from screener.visit.connections import ImpatientProtocol
    from screener.run.site import open_site
    from screener.visit.clients import Clients
    from screener.visit.hooks import SERVICE_ID
    from screener.visit.service import Service

    visit = settings.visit
    host, _, port = visit.address.rpartition(":")
    if visit.client_keys is None and host not in ("127.0.0.1", "localhost", "[::1]"):
        raise ConfigurationError(
            "Whoever reaches this address could ask for any patient whose records they send",
            "Name the clients' public keys (visit.client_keys), or listen on 127.0.0.1",
        )
    base = (visit.url or f"http://{visit.address}").rstrip("/")
    audiences = frozenset({base, f"{base}/cds-services", f"{base}/cds-services/{SERVICE_ID}"})
    clients = Clients.of_file(visit.client_keys, audiences) if visit.client_keys else None
    with ExitStack() as stack:
        service = Service(open_site(settings, stack), visit, settings.server, settings.output)
        app = create_app(service, clients, visit.seconds)
        click.echo(f"CDS Hooks at {base}/cds-services (stop with Ctrl-C)", err=True)
        # No access log: it would hold nothing, and one line a call is ours.
        uvicorn.run(
            app,
            host=host.strip("[]"),
            port=int(port),
            log_config=None,
            access_log=False,
            server_header=False,
            http=ImpatientProtocol,
        )
