"""aiohttp as a transport: TLS, proxies from the environment, whatever the lean wire leaves out."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from time import perf_counter
from urllib.parse import urlsplit

import aiohttp

from .transport import Answered, Broken, Late, Unreached


class Tls:
    """One pooled aiohttp session."""

    def __init__(self, url: str, headers: Mapping[str, str], proxy: str | None = None) -> None:
        # A context of our own, so that SSL_CERT_FILE counts as it stands when the engine is opened.
        context = ssl.create_default_context() if urlsplit(url).scheme == "https" else False
        self._url, self._proxy = url, proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            headers={"Content-Type": "application/json", **headers},
        )

    async def post(self, data: bytes, within: float) -> Answered:
        started = perf_counter()
        try:
            async with self._session.post(
                self._url,
                data=data,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(total=within),
                allow_redirects=False,
            ) as got:
                headers = {name.lower(): value for name, value in got.headers.items()}
                body = await got.read()
                return Answered(got.status, body, perf_counter() - started, headers)
        except (aiohttp.ClientConnectorError, aiohttp.ClientProxyConnectionError) as why:
            raise Unreached(str(why)) from None
        except TimeoutError:
            raise Late(f"no reply within {within:g} s") from None
        except (aiohttp.ClientError, OSError) as why:
            raise Broken(str(why) or type(why).__name__) from None

    async def close(self) -> None:
        await self._session.close()
