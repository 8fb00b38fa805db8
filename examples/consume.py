"""Reads what was heard from segue.events, as a consumer of events would: committed records only, each impression once, nothing lost.

    $(examples/python/environment.sh) examples/consume.py --brokers localhost:9092

One line for each impression on standard output; what can't be understood is named on standard error and passed over. Ends at SIGTERM or Ctrl-C, or with
--until-end when it has read all there is, and says last how much it was. The same in Rust: consume.rs. What the topic promises: docs/topics.md.
"""

import argparse
import collections
import datetime
import json
import signal
import sys
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException
from google.protobuf.message import DecodeError
from segue.v1 import common_pb2, events_pb2

# Ids of events that are remembered. The second record of an event has the same key, so it comes in the same partition; after a crash of a server it may
# come minutes later. Whoever stores what it reads has no need of this: the event id as a unique key of the table drops every duplicate for ever.
REMEMBERED_MAX = 1_000_000
# How long one look for a record lasts, in seconds: how soon a signal is seen.
POLL_SECONDS = 0.2


class Seen:
    """The last ids of events."""

    def __init__(self):
        self.ids = collections.OrderedDict()

    def is_new(self, event_id):
        """Whether the id comes for the first time."""
        if event_id in self.ids:
            return False
        self.ids[event_id] = None
        if len(self.ids) > REMEMBERED_MAX:
            self.ids.popitem(last=False)
        return True


class NotUnderstood(Exception):
    """A record of a newer version, or of somebody else."""


def understood(payload):
    """The envelope in a record's bytes. Fields that these classes don't know are passed over; kinds that they don't know can't be."""
    try:
        envelope = events_pb2.Envelope.FromString(payload or b"")
    except DecodeError as error:
        raise NotUnderstood(f"no message of segue.v1: {error}") from error
    kind = envelope.WhichOneof("body")
    if kind is None:
        raise NotUnderstood("a kind of event that this version does not know")
    if kind == "beacon" and envelope.beacon.event not in common_pb2.BeaconEvent.values():
        raise NotUnderstood("a kind of beacon that this version does not know")
    return envelope


def word(enumeration, number, prefix):
    """An enum's value as one plain word; none for "not set"."""
    if number == 0:
        return None
    try:
        return enumeration.Name(number).removeprefix(prefix).lower()
    except ValueError as error:
        raise NotUnderstood(f"{prefix.lower()}{number} is not known to this version") from error


def impression(envelope):
    """What is told of an impression."""
    beacon = envelope.beacon
    return {
        "event_id": envelope.event_id.hex(),
        "advertiser_id": str(uuid.UUID(bytes=beacon.advertiser_id)),
        "campaign_id": str(uuid.UUID(bytes=beacon.campaign_id)),
        "line_item_id": str(uuid.UUID(bytes=beacon.line_item_id)),
        "creative_id": str(uuid.UUID(bytes=beacon.creative_id)),
        "tier": word(common_pb2.Tier, beacon.tier, "TIER_"),
        "price_micros": beacon.price_micros,
        "received_at_ms": envelope.received_at_ms,
        "country": beacon.country if beacon.HasField("country") else None,
        "preview": beacon.preview,
        "invalid": word(common_pb2.InvalidTraffic, beacon.invalid, "INVALID_TRAFFIC_"),
    }


def line(told):
    """The same for people."""
    at_ms = told["received_at_ms"]
    at = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    invalid = f", invalid: {told['invalid']}" if told["invalid"] else ""
    preview = ", preview" if told["preview"] else ""
    return (
        f"{at}.{at_ms % 1000:03}Z line item {told['line_item_id']}, creative {told['creative_id']}, "
        f"{told['price_micros']} micros, {told['country'] or 'somewhere'}{preview}{invalid}"
    )


def arguments():
    parser = argparse.ArgumentParser(description="Prints each impression in segue.events once.")
    parser.add_argument("--brokers", required=True, help="some brokers, HOST:PORT with commas between them")
    parser.add_argument("--topic", default="segue.events", help="its name in Kafka, with its prefix if it has one [segue.events]")
    parser.add_argument("--group", default="segue-example", help="whose progress is kept in Kafka [segue-example]")
    parser.add_argument("--until-end", action="store_true", help="end when all there is has been read; for one that is alone in its group")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args()


def main():
    asked = arguments()
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    assigned, ended = set(), set()
    consumer = Consumer(
        {
            "bootstrap.servers": asked.brokers,
            "group.id": asked.group,
            # Nothing of a transaction that was given up.
            "isolation.level": "read_committed",
            # A new group begins at the oldest record that is kept.
            "auto.offset.reset": "earliest",
            # Progress is kept every few seconds and at the end, but only of what was stored below: of records that are done with.
            "enable.auto.commit": True,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
        }
    )

    def on_assign(_, partitions):
        assigned.update(partition.partition for partition in partitions)

    def on_revoke(_, partitions):
        for partition in partitions:
            assigned.discard(partition.partition)
            ended.discard(partition.partition)

    consumer.subscribe([asked.topic], on_assign=on_assign, on_revoke=on_revoke)
    counts = {"records": 0, "impressions": 0, "duplicates": 0, "other": 0, "not_understood": 0}
    seen = Seen()
    try:
        while not stop and not (asked.until_end and assigned and assigned == ended):
            message = consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                    continue
                raise KafkaException(message.error())
            ended.discard(message.partition())
            counts["records"] += 1
            try:
                envelope = understood(message.value())
                if envelope.WhichOneof("body") != "beacon" or envelope.beacon.event != common_pb2.BEACON_EVENT_IMPRESSION:
                    counts["other"] += 1
                else:
                    told = impression(envelope)
                    if seen.is_new(envelope.event_id):
                        counts["impressions"] += 1
                        print(json.dumps(told, separators=(",", ":")) if asked.json else line(told), flush=True)
                    else:
                        counts["duplicates"] += 1
            except NotUnderstood as reason:
                counts["not_understood"] += 1
                print(f"{asked.topic} {message.partition()}/{message.offset()}: {reason}", file=sys.stderr)
            consumer.store_offsets(message=message)
    finally:
        # Leaves the group, and keeps the progress of what is done with.
        consumer.close()
    print(json.dumps(counts, separators=(",", ":")), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KafkaException as failure:
        sys.exit(f"consume.py: {failure.args[0].str()}")
