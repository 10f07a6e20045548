"""localstripe on a free port of the loopback interface, until standard input ends: with its parent, however that ends.

It is told apart from the original in four ways: where it listens, that it writes no file, that it takes a payment method
and a return URL with the confirmation of an intent (as Stripe does), and that it prints its port.
"""

import os
import socket
import sys
import threading

from aiohttp import web
from localstripe import resources

resources.Store.dump_to_disk = lambda self: None


def confirm(id, payment_method=None, return_url=None, **rest):
    intent = resources.PaymentIntent._api_retrieve(id)
    if payment_method is not None and intent.payment_method is None and not intent._canceled:
        resources.PaymentMethod._api_retrieve(payment_method)
        intent.payment_method = payment_method
    intent = resources.PaymentIntent._api_confirm(id, **rest)
    if intent.next_action and return_url:
        url = 'https://bank.example/3ds?back=' + return_url
        intent.next_action = {'type': 'redirect_to_url', 'redirect_to_url': {'url': url, 'return_url': return_url}}
    return intent


path = '/v1/payment_intents/{id}/confirm'
resources.extra_apis[:] = [
    (method, url, confirm if url == path else call) for method, url, call in resources.extra_apis
]

from localstripe import server  # noqa: E402  it makes its routes when it is imported


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind(('127.0.0.1', 0))
threading.Thread(target=end_with_parent, daemon=True).start()
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, access_log=None, print=None)
