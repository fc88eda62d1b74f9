"""Uses a node through the official MCP SDK: lists tools, stores, recalls, reads structured output.

mcp_sdk.py stdio BINARY | mcp_sdk.py http URL
"""
import asyncio
import sys
import tempfile

from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client


async def use(session: Client) -> None:
    print("server:", session.server_info.name, session.server_info.version, "protocol", session.protocol_version)
    tools = (await session.list_tools()).tools
    print("tools:", ", ".join(tool.name for tool in tools))
    assert all(tool.output_schema for tool in tools), "every tool has an output schema"
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
    assert not stored.is_error, stored
    print("stored:", stored.structured_content)
    answer = await session.call_tool("recall", {"query": "what do we do when errors rise after deploying?"})
    assert not answer.is_error, answer
    hit = answer.structured_content["hits"][0]
    print("recalled:", hit["memory"]["title"], "| score", round(hit["score"], 3))
    assert hit["memory"]["id"] == stored.structured_content["id"]
    refused = await session.call_tool("store", {"title": "x", "content": "y", "tier": "eternal"})
    assert refused.is_error, "a wrong tier is refused"
    print("refused:", refused.content[0].text)


async def main() -> None:
    way, target = sys.argv[1], sys.argv[2]
    if way == "stdio":
        with tempfile.TemporaryDirectory() as folder:
            server = StdioServerParameters(command=target, args=["--data-dir", folder, "mcp"])
            async with Client(stdio_client(server)) as session:
                await use(session)
    else:
        async with Client(target) as session:
            await use(session)
    print("ok")


asyncio.run(main())
