"""kombu's Redis transport with a guard where messages are parsed, before anything else sees them.

`_brpop_read` takes a message off its list and parses it; `_deliver` hands it to the consumer, which keeps
it as unacknowledged; `restore_by_tag` brings back what a dead worker held. Each of the three trusts its
input. A message that fails here has left its list already, so to drop it is to return.
"""

from __future__ import annotations

from queue import Empty
from typing import Any
from urllib.parse import urlsplit

from kombu.transport import redis, virtual

from worker.messaging.dropped import DROPPED
from worker.messaging.form import ForeignMessage, canonical_message


class GuardedQoS(redis.QoS):
    """Unacknowledged messages; an entry that cannot be restored is removed."""

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge a message.

        If the broker died meanwhile the message no longer counts as held all the same: else a worker whose
        last messages could not be acknowledged would never read again, and so never see that the
        connection is gone.
        """
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except self.channel.connection_errors:
            raise
        except Exception:  # noqa: BLE001  whatever somebody wrote there
            self._remove_from_indices(tag).execute()
            DROPPED.add("unacknowledged", "cannot be restored")


class _Guard:
    """What both kinds of channel do alike."""

    QoS = GuardedQoS
    connection: Any
    connection_errors: tuple[type[BaseException], ...]

    def _brpop_read(self, **options: Any) -> Any:
        self.connection.consumer_failed = False
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Empty:
            raise
        except self.connection_errors:
            raise
        except Exception:
            if self.connection.consumer_failed:
                raise
            DROPPED.add("any", "no JSON")
            return True


class GuardedChannel(_Guard, redis.Channel):
    """A channel to one server."""


class GuardedSentinelChannel(_Guard, redis.SentinelChannel):
    """A channel to the server that Sentinels call the master."""


class GuardedTransport(redis.Transport):
    """The transport that `worker.celery` names."""

    Channel = GuardedChannel
    driver_type = "pneumo"
    """Not "redis", so that Celery's gossip and mingle stay off: their events are no messages of ours."""
    consumer_failed = False
    """Whether the error on its way up came from behind the guard, so that it is no message's fault."""

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            ours = canonical_message(message, queue)
        except ForeignMessage as foreign:
            DROPPED.add(queue, foreign.reason)
            return
        try:
            super()._deliver(ours, queue)
        except BaseException:
            self.consumer_failed = True
            raise


class GuardedSentinelTransport(GuardedTransport):
    """The same by way of Sentinels."""

    default_port = 26379
    Channel = GuardedSentinelChannel


def transport_for(broker_url: str) -> str:
    """Return the transport's name for `broker_transport`, by the scheme of the broker's URL."""
    chosen = (
        GuardedSentinelTransport if urlsplit(broker_url).scheme == "sentinel" else GuardedTransport
    )
    return f"{chosen.__module__}:{chosen.__qualname__}"
