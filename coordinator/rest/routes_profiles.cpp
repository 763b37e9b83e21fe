#include "coordinator/rest/route_parts.h"

namespace roamstead::rest {
namespace {

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

void add_quotas(std::vector<Route>& all) {
  const std::string tag = "profiles";
  all.push_back({"getProfileUsage",
                 "GET",
                 "/v1/profiles/{profile}/usage",
                 Shape::act,
                 "profile.show",
                 "What a profile holds, what it may hold, and who has it open",
                 "ProfileUsage",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"setProfileQuota",
                 "PUT",
                 "/v1/profiles/{profile}/quota",
                 Shape::act,
                 "profile.quota",
                 "Give a profile a quota of its own; without one in the body: its pool's again",
                 "ProfileQuota",
                 "",
                 {},
                 {optional(quota_field())},
                 {},
                 tag});
  all.push_back({"getProfileRules",
                 "GET",
                 "/v1/profiles/{profile}/rules",
                 Shape::act,
                 "profile.rules.show",
                 "A profile's own rules of what roams",
                 "ProfileRules",
                 "",
                 {},
                 {},
                 {},
                 tag});
  all.push_back({"setProfileRules",
                 "PUT",
                 "/v1/profiles/{profile}/rules",
                 Shape::act,
                 "profile.rules.set",
                 "Give a profile rules of its own, for its sessions from now on",
                 "ProfileRules",
                 "",
                 {},
                 {optional(rules_field())},
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

}  // namespace

void add_profile_routes(std::vector<Route>& all) {
  add_profiles(all);
  add_quotas(all);
  add_sessions(all);
}

}  // namespace roamstead::rest
