"""Subscriptions to streams that last as long as somebody reads: ended whole, so that the broker keeps none of them."""

import contextlib

import nats.errors
from nats.js import JetStreamContext


async def forget(js: JetStreamContext, subscription: JetStreamContext.PushSubscription) -> None:
    """End a subscription and delete its consumer, which the broker would keep until it had been idle for minutes."""
    consumer = None
    with contextlib.suppress(nats.errors.Error):  # the connection may have ended before, or the consumer been reset
        consumer = await subscription.consumer_info()
    with contextlib.suppress(nats.errors.Error):
        await subscription.unsubscribe()
        if consumer is not None:
            await js.delete_consumer(consumer.stream_name, consumer.name)
