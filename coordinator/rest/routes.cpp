#include "coordinator/rest/route.h"

#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace roamstead::rest {
namespace {

using nlohmann::json;

constexpr const char* kName = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";

Field name_field(std::string name, std::string description, std::string example) {
  Field field{std::move(name), Type::text, std::move(description)};
  field.pattern = kName;
  field.example = std::move(example);
  return field;
}
Field profile_field() {
  Field field{"profile", Type::text, "A profile's name"};
  field.least = 1;
  field.most = 255;
  field.example = "alice";
  return field;
}
Field number_field(std::string name, std::string description, std::uint64_t least, std::uint64_t most) {
  Field field{std::move(name), Type::integer, std::move(description)};
  field.least = least;
  field.most = most;
  return field;
}
Field optional(Field field) {
  field.required = false;
  return field;
}
Field until_field() { return optional({"until_time", Type::time, "When it ends, to come; without: never"}); }
Field policy_field() {
  Field field{"session_policy", Type::text, "What a second log-in to a profile does"};
  field.choices = {"takeover", "refuse", "read-only", "concurrent"};
  return field;
}
Field flag_field(std::string name, std::string description) {
  return optional({std::move(name), Type::flag, std::move(description)});
}

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

void add_desktops(std::vector<Route>& all) {
  const std::string tag = "desktops";
  const auto pool = optional(name_field("pool", "The pool that it comes into", "default"));
  all.push_back({"listDesktops",
                 "GET",
                 "/v1/desktops",
                 Shape::page,
                 "desktop.list",
                 "Desktops, revoked ones too",
                 "Desktop",
                 "desktops",
                 {"desktop", "serial"},
                 {},
                 {optional(name_field("pool", "Only those of this pool", "default"))},
                 tag,
                 {},
                 {"pool"}});
  all.push_back({"enrollDesktop",
                 "POST",
                 "/v1/desktops",
                 Shape::create,
                 "desktop.enroll",
                 "Let a desktop in, with a key made here; a token lets it make its own",
                 "EnrolledDesktop",
                 "",
                 {"desktop"},
                 {name_field("desktop", "Its name", "desk-1"), pool,
                  optional({"address", Type::text, "Where it is to find the coordinator: host:port"})},
                 {},
                 tag});
  all.push_back({"getDesktop",
                 "GET",
                 "/v1/desktops/{desktop}",
                 Shape::item,
                 "desktop.list",
                 "One desktop",
                 "Desktop",
                 "desktops",
                 {"desktop"},
                 {},
                 {},
                 tag,
                 {},
                 {},
                 nullptr,
                 "revoked"});
  all.push_back({"moveDesktop",
                 "PATCH",
                 "/v1/desktops/{desktop}",
                 Shape::act,
                 "desktop-pool.move",
                 "Put a desktop into another pool",
                 "MovedDesktop",
                 "",
                 {},
                 {name_field("pool", "The pool", "default")},
                 {},
                 tag});
  all.push_back({"revokeDesktop",
                 "DELETE",
                 "/v1/desktops/{desktop}",
                 Shape::act,
                 "desktop.revoke",
                 "Refuse a desktop's certificates from now on, and end its connections",
                 "RevokedDesktop",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"prepareDesktop",
                 "POST",
                 "/v1/desktops/{desktop}/prepare",
                 Shape::operation,
                 "desktop.prepare",
                 "Tell a desktop that a profile will be opened on it, once it has a connection",
                 "Operation",
                 "",
                 {},
                 {profile_field(),
                  optional(number_field("within_seconds", "How long to wait for its connection", 0, 3600))},
                 {},
                 tag});
}

void add_pools(std::vector<Route>& all) {
  const std::string tag = "pools";
  all.push_back({"listPools",
                 "GET",
                 "/v1/pools",
                 Shape::page,
                 "desktop-pool.list",
                 "Pools of desktops",
                 "Pool",
                 "pools",
                 {"pool"},
                 {},
                 {},
                 tag});
  all.push_back({"createPool",
                 "POST",
                 "/v1/pools",
                 Shape::create,
                 "desktop-pool.create",
                 "Make a pool",
                 "Pool",
                 "",
                 {"pool"},
                 {name_field("pool", "Its name", "sales"), optional(policy_field())},
                 {},
                 tag});
  all.push_back({"getPool",
                 "GET",
                 "/v1/pools/{pool}",
                 Shape::item,
                 "desktop-pool.list",
                 "One pool",
                 "Pool",
                 "pools",
                 {"pool"},
                 {},
                 {},
                 tag});
  all.push_back({"setPool",
                 "PATCH",
                 "/v1/pools/{pool}",
                 Shape::act,
                 "desktop-pool.set",
                 "Change a pool",
                 "Pool",
                 "",
                 {},
                 {optional(policy_field())},
                 {},
                 tag});
}

void add_tokens(std::vector<Route>& all) {
  const std::string tag = "enrolment tokens";
  all.push_back({"listEnrolmentTokens",
                 "GET",
                 "/v1/enrolment-tokens",
                 Shape::page,
                 "token.list",
                 "Tokens, without their secrets",
                 "EnrolmentToken",
                 "tokens",
                 {"created_time", "id"},
                 {},
                 {},
                 tag});
  all.push_back({"createEnrolmentToken",
                 "POST",
                 "/v1/enrolment-tokens",
                 Shape::create,
                 "token.create",
                 "Make a token by which desktops enrol themselves",
                 "NewEnrolmentToken",
                 "",
                 {"id"},
                 {optional(name_field("pool", "Where its desktops come to be", "default")),
                  optional(number_field("uses", "How many desktops it lets in; 1 unless said", 1, 10'000)),
                  optional(number_field("life_s", "Seconds; a day unless said", 1, 90ull * 24 * 3600))},
                 {},
                 tag});
  all.push_back({"getEnrolmentToken",
                 "GET",
                 "/v1/enrolment-tokens/{id}",
                 Shape::item,
                 "token.list",
                 "One token",
                 "EnrolmentToken",
                 "tokens",
                 {"id"},
                 {},
                 {},
                 tag});
  all.push_back({"revokeEnrolmentToken",
                 "DELETE",
                 "/v1/enrolment-tokens/{id}",
                 Shape::act,
                 "token.revoke",
                 "Let nobody in by it any more; whom it let in stays",
                 "RevokedToken",
                 "",
                 {},
                 {},
                 {},
                 tag});
}

void add_assignments(std::vector<Route>& all) {
  const std::string tag = "assignments";
  all.push_back(
      {"listAssignments",
       "GET",
       "/v1/assignments",
       Shape::page,
       "assignment.list",
       "Profiles that desktops may open, one by one",
       "Assignment",
       "assignments",
       {"desktop", "profile"},
       {},
       {optional(name_field("desktop", "Only of this desktop", "desk-a")), optional(profile_field())},
       tag,
       {},
       {"desktop", "profile"}});
  all.push_back({"assignProfile",
                 "PUT",
                 "/v1/desktops/{desktop}/assignments/{profile}",
                 Shape::act,
                 "assignment.add",
                 "Let a desktop open a profile",
                 "ChangedAssignment",
                 "",
                 {},
                 {until_field()},
                 {},
                 tag});
  all.push_back({"unassignProfile",
                 "DELETE",
                 "/v1/desktops/{desktop}/assignments/{profile}",
                 Shape::act,
                 "assignment.remove",
                 "Let it no longer",
                 "ChangedAssignment",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"listGroups",
                 "GET",
                 "/v1/groups",
                 Shape::page,
                 "group.list",
                 "Groups of profiles",
                 "Group",
                 "groups",
                 {"group"},
                 {},
                 {},
                 tag});
  all.push_back({"createGroup",
                 "POST",
                 "/v1/groups",
                 Shape::create,
                 "group.create",
                 "Make a group",
                 "NewGroup",
                 "",
                 {"group"},
                 {name_field("group", "Its name", "everybody")},
                 {},
                 tag});
  all.push_back({"getGroup",
                 "GET",
                 "/v1/groups/{group}",
                 Shape::item,
                 "group.list",
                 "One group",
                 "Group",
                 "groups",
                 {"group"},
                 {},
                 {},
                 tag});
  all.push_back({"deleteGroup",
                 "DELETE",
                 "/v1/groups/{group}",
                 Shape::act,
                 "group.delete",
                 "Remove a group and its rules; its profiles stay",
                 "RemovedGroup",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"addMember",
                 "PUT",
                 "/v1/groups/{group}/members/{profile}",
                 Shape::act,
                 "group.add",
                 "Put a profile into a group",
                 "Member",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"removeMember",
                 "DELETE",
                 "/v1/groups/{group}/members/{profile}",
                 Shape::act,
                 "group.remove",
                 "Take it out",
                 "Member",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"addRule",
                 "PUT",
                 "/v1/pools/{pool}/groups/{group}",
                 Shape::act,
                 "rule.add",
                 "Let a pool's desktops open a group's profiles",
                 "Rule",
                 "",
                 {},
                 {until_field()},
                 {},
                 tag});
  all.push_back({"removeRule",
                 "DELETE",
                 "/v1/pools/{pool}/groups/{group}",
                 Shape::act,
                 "rule.remove",
                 "Let them no longer",
                 "RemovedRule",
                 "",
                 {},
                 {},
                 {},
                 tag});
}

void add_profiles(std::vector<Route>& all) {
  const std::string tag = "profiles";
  const auto all_forks = flag_field("all", "Merged and discarded ones too");
  all.push_back({"listProfiles",
                 "GET",
                 "/v1/profiles",
                 Shape::page,
                 "profile.list",
                 "Profiles",
                 "Profile",
                 "profiles",
                 {"profile"},
                 {},
                 {},
                 tag});
  all.push_back({"createProfile",
                 "POST",
                 "/v1/profiles",
                 Shape::create,
                 "profile.create",
                 "Make an empty profile",
                 "NewProfile",
                 "",
                 {"name"},
                 {profile_field()},
                 {},
                 tag});
  all.push_back({"getProfile",
                 "GET",
                 "/v1/profiles/{profile}",
                 Shape::item,
                 "profile.list",
                 "One profile",
                 "Profile",
                 "profiles",
                 {"profile"},
                 {},
                 {},
                 tag});
  all.push_back({"listVersions",
                 "GET",
                 "/v1/profiles/{profile}/versions",
                 Shape::page,
                 "profile.versions",
                 "A profile's versions, forks too",
                 "Version",
                 "versions",
                 {"version"},
                 {},
                 {},
                 tag});
  all.push_back({"getVersion",
                 "GET",
                 "/v1/profiles/{profile}/versions/{version}",
                 Shape::item,
                 "profile.versions",
                 "One version",
                 "Version",
                 "versions",
                 {"version"},
                 {},
                 {},
                 tag});
  all.push_back({"restoreVersion",
                 "POST",
                 "/v1/profiles/{profile}/versions/{version}/restore",
                 Shape::operation,
                 "profile.restore",
                 "Make a version the content of a new head",
                 "Operation",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"listForks",
                 "GET",
                 "/v1/profiles/{profile}/forks",
                 Shape::page,
                 "profile.forks",
                 "What was saved beside the head",
                 "Fork",
                 "forks",
                 {"fork"},
                 {},
                 {all_forks},
                 tag});
  all.push_back({"previewMerge",
                 "GET",
                 "/v1/profiles/{profile}/forks/{fork}/merge",
                 Shape::act,
                 "profile.merge",
                 "What merging a fork would do",
                 "MergePreview",
                 "",
                 {},
                 {},
                 {},
                 tag,
                 {"dry_run"}});
  all.push_back({"mergeFork",
                 "POST",
                 "/v1/profiles/{profile}/forks/{fork}/merge",
                 Shape::operation,
                 "profile.merge",
                 "Bring a fork's changes to the head",
                 "Operation",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"discardFork",
                 "POST",
                 "/v1/profiles/{profile}/forks/{fork}/discard",
                 Shape::act,
                 "profile.discard",
                 "Mark a fork as not wanted",
                 "DiscardedFork",
                 "",
                 {},
                 {},
                 {},
                 tag});
}

void add_sessions(std::vector<Route>& all) {
  const std::string tag = "sessions";
  Field reason{"reason", Type::text, "Shown to the user"};
  reason.most = 256;
  Field state{"state", Type::text, "Only those in this state"};
  state.choices = {"active", "closed", "superseded"};
  all.push_back({"listSessions",
                 "GET",
                 "/v1/sessions",
                 Shape::page,
                 "session.list",
                 "Log-ins, ended ones too",
                 "Session",
                 "sessions",
                 {"opened_time", "session"},
                 {},
                 {optional(name_field("desktop", "Only on this desktop", "desk-a")),
                  optional(profile_field()), optional(state)},
                 tag,
                 {"all"},
                 {"desktop", "profile", "state"}});
  all.push_back({"getSession",
                 "GET",
                 "/v1/sessions/{session}",
                 Shape::item,
                 "session.list",
                 "One log-in",
                 "Session",
                 "sessions",
                 {"session"},
                 {},
                 {},
                 tag,
                 {"all"}});
  all.push_back(
      {"closeSession",
       "POST",
       "/v1/sessions/{session}/close",
       Shape::act,
       "session.close",
       "Ask its desktop to log the user out",
       "ClosingSession",
       "",
       {},
       {optional(number_field("within_seconds", "The time it has; a minute unless said", 0, 24 * 3600)),
        optional(reason)},
       {},
       tag});
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

const std::vector<Route>& routes() {
  static const std::vector<Route> table = [] {
    std::vector<Route> all;
    add_desktops(all);
    add_pools(all);
    add_tokens(all);
    add_assignments(all);
    add_profiles(all);
    add_sessions(all);
    add_system(all);
    return all;
  }();
  return table;
}

const Field& path_field(const std::string& name) {
  static const std::map<std::string, Field> known = [] {
    std::map<std::string, Field> all;
    Field session{"session", Type::text, "A session's id"};
    session.most = 64;
    for (auto field :
         {name_field("desktop", "A desktop's name", "desk-a"), name_field("pool", "A pool's name", "default"),
          name_field("id", "A token's id", "0badcafe"), name_field("group", "A group's name", "everybody"),
          name_field("administrator", "An administrator's name", "ada"),
          name_field("operation", "An operation's id", "0badcafe"), profile_field(), session,
          number_field("version", "A version's number", 1, 0),
          number_field("fork", "A fork's version", 1, 0)})
      all.emplace(field.name, field);
    return all;
  }();
  return known.at(name);
}

std::vector<std::string> path_fields(const std::string& path) {
  std::vector<std::string> names;
  for (auto at = path.find('{'); at != std::string::npos; at = path.find('{', at)) {
    const auto end = path.find('}', at);
    names.push_back(path.substr(at + 1, end - at - 1));
    at = end;
  }
  return names;
}

const std::vector<Unrouted>& unrouted() {
  constexpr const char* kProvisioning = "reads and writes disks of the coordinator's host";
  static const std::vector<Unrouted> list{
      {"profile.import", "reads any directory of the coordinator's host"},
      {"session.extract", "reads any disk of the coordinator's host"},
      {"image.import", kProvisioning},
      {"image.list", kProvisioning},
      {"image.show", kProvisioning},
      {"image.forget", kProvisioning},
      {"pool.plan", kProvisioning},
      {"pool.create", kProvisioning},
      {"pool.list", kProvisioning},
      {"pool.show", kProvisioning},
      {"pool.delete", kProvisioning},
      {"clone.list", kProvisioning},
      {"clone.show", kProvisioning},
      {"clone.diff", kProvisioning},
      {"clone.refresh", kProvisioning},
      {"clone.delete", kProvisioning},
      {"session.recover-layer", "reads any disk of the coordinator's host"},
      {"desktop.disk", "names a disk of the coordinator's host, to be read later"},
      {"profile.quota", "quotas are not yet among the described schemas"},
      {"profile.show", "quotas are not yet among the described schemas"},
      {"administrator.certify", "a stolen certificate must not be able to make itself another"},
  };
  return list;
}

}  // namespace roamstead::rest
