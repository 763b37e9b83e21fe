#include "coordinator/rest/route_parts.h"

#include <nlohmann/json.hpp>

namespace roamstead::rest {
namespace {

using nlohmann::json;

// Its parts vary by what it tells of: those that all have, and the rest as texts.
json audit_item(const json& record) {
  auto item = json::object();
  auto fields = json::array();
  auto add = [&](const std::string& name, const json& value) {
    fields.push_back(
        {{"name", name}, {"value", value.is_string() ? value.get<std::string>() : value.dump()}});
  };
  for (const auto& [name, value] : record.items()) {
    if (name == "fields" && value.is_object())
      for (const auto& [inner, text] : value.items()) add(inner, text);
    else if (name == "seq" || name == "time" || name == "what" || name == "who" || name == "about" ||
             name == "outcome" || name == "reason")
      item[name] = value;
    else
      add(name, value);
  }
  item["fields"] = std::move(fields);
  return item;
}

void add_system(std::vector<Route>& all) {
  all.push_back({"getStatus",
                 "GET",
                 "/v1/status",
                 Shape::act,
                 "status.show",
                 "How the coordinator is doing",
                 "Status",
                 "",
                 {},
                 {},
                 {},
                 "status"});
  all.push_back({"getRepositoryStatistics",
                 "GET",
                 "/v1/repository/statistics",
                 Shape::act,
                 "repository.statistics",
                 "What the repository holds",
                 "RepositoryStatistics",
                 "",
                 {},
                 {},
                 {},
                 "repository"});
  all.push_back({"checkRepository",
                 "POST",
                 "/v1/repository/check",
                 Shape::operation,
                 "repository.check",
                 "Read everything back and compare",
                 "Operation",
                 "",
                 {},
                 {},
                 {},
                 "repository"});
  all.push_back({"listAuditRecords",
                 "GET",
                 "/v1/audit/records",
                 Shape::page,
                 "audit.show",
                 "The audit log's latest 10,000 records",
                 "AuditRecord",
                 "records",
                 {"seq"},
                 {},
                 {optional(name_field("desktop", "Only of this desktop", "desk-a")),
                  optional({"since", Type::time, "Only from then on"})},
                 "audit",
                 {},
                 {},
                 audit_item});
  all.push_back({"verifyAudit",
                 "POST",
                 "/v1/audit/verify",
                 Shape::operation,
                 "audit.verify",
                 "Follow the audit log's chain",
                 "Operation",
                 "",
                 {},
                 {},
                 {},
                 "audit"});
  all.push_back({"listAdministrators",
                 "GET",
                 "/v1/administrators",
                 Shape::page,
                 "administrator.list",
                 "Certificates that are let in here",
                 "Administrator",
                 "administrators",
                 {"administrator", "serial"},
                 {},
                 {},
                 "administrators"});
  all.push_back({"revokeAdministrator",
                 "DELETE",
                 "/v1/administrators/{administrator}",
                 Shape::act,
                 "administrator.revoke",
                 "Refuse an administrator's certificates from the next request on",
                 "RevokedAdministrator",
                 "",
                 {},
                 {},
                 {},
                 "administrators"});
  all.push_back({"listOperations",
                 "GET",
                 "/v1/operations",
                 Shape::page,
                 "",
                 "What takes or took longer",
                 "Operation",
                 "operations",
                 {"created_time", "operation"},
                 {},
                 {},
                 "operations"});
  all.push_back({"getOperation",
                 "GET",
                 "/v1/operations/{operation}",
                 Shape::item,
                 "",
                 "One operation",
                 "Operation",
                 "operations",
                 {"operation"},
                 {},
                 {},
                 "operations"});
  all.push_back({"followOperation",
                 "GET",
                 "/v1/operations/{operation}/events",
                 Shape::stream,
                 "",
                 "Its progress, as server-sent events",
                 "Operation",
                 "",
                 {},
                 {},
                 {},
                 "operations"});
}

}  // namespace

void add_system_routes(std::vector<Route>& all) { add_system(all); }

}  // namespace roamstead::rest
