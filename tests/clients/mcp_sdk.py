"""Uses a node through the official MCP SDK: lists tools, stores, recalls, reads structured output.

mcp_sdk.py stdio BINARY | mcp_sdk.py http URL
"""
import asyncio
import sys
import tempfile

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


async def use(session: ClientSession) -> None:
    hello = await session.initialize()
    print("server:", hello.serverInfo.name, hello.serverInfo.version, "protocol", hello.protocolVersion)
    tools = (await session.list_tools()).tools
    print("tools:", ", ".join(tool.name for tool in tools))
    assert all(tool.outputSchema for tool in tools), "every tool has an output schema"
    stored = await session.call_tool(
        "store",
        {
            "title": "Rollback rule",
            "content": "If the error rate doubles within ten minutes of a deploy, roll back first and ask later.",
            "namespace": "acme/ops",
            "kind": "instruction",
            "tags": ["deploy", "incident"],
        },
    )
    assert not stored.isError, stored
    print("stored:", stored.structuredContent)
    answer = await session.call_tool("recall", {"query": "what do we do when errors rise after deploying?"})
    assert not answer.isError, answer
    hit = answer.structuredContent["hits"][0]
    print("recalled:", hit["memory"]["title"], "| score", round(hit["score"], 3))
    assert hit["memory"]["id"] == stored.structuredContent["id"]
    refused = await session.call_tool("store", {"title": "x", "content": "y", "tier": "eternal"})
    assert refused.isError, "a wrong tier is refused"
    print("refused:", refused.content[0].text)


async def main() -> None:
    way, target = sys.argv[1], sys.argv[2]
    if way == "stdio":
        with tempfile.TemporaryDirectory() as folder:
            server = StdioServerParameters(command=target, args=["--data-dir", folder, "mcp"])
            async with stdio_client(server) as (read, write):
                async with ClientSession(read, write) as session:
                    await use(session)
    else:
        async with streamablehttp_client(target) as (read, write, _):
            async with ClientSession(read, write) as session:
                await use(session)
    print("ok")


asyncio.run(main())
