"""Reports as the paper venue's books keep them, all under their order's first ClOrdID."""

from __future__ import annotations

from typing import Any

from trade_engine.domain.execution import BrokerReport, CancelReject, ExecutionReport
from trade_engine.domain.order import order_id_of


def report_doc(report: BrokerReport) -> dict[str, Any]:
    """The document of a report; `request` is the ClOrdID of the request that it answers."""
    first = order_id_of(report.cl_ord_id)
    if isinstance(report, CancelReject):
        return {
            "cl_ord_id": first,
            "exec_id": f"{report.cl_ord_id}-refused",
            "transact_time_ns": report.transact_time_ns,
            "refused": report.to_json(),
        }
    doc = report.to_json()
    return doc | {"cl_ord_id": first, "request": report.cl_ord_id} if report.orig_cl_ord_id else doc


def report_of(doc: dict[str, Any]) -> BrokerReport:
    """Read what `report_doc` wrote."""
    if "refused" in doc:
        return CancelReject.from_json(doc["refused"])
    return ExecutionReport.from_json(doc | {"cl_ord_id": doc.get("request", doc["cl_ord_id"])})


def execution_reports(docs: list[dict[str, Any]]) -> list[ExecutionReport]:
    """What the venue told of an order itself, without its refusals of requests."""
    reports = map(report_of, docs)
    return [each for each in reports if isinstance(each, ExecutionReport)]
