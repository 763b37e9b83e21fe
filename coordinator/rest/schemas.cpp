#include "coordinator/rest/schema.h"

namespace roamstead::rest {
namespace {

// How fields are written here: what is not said is required.
Field text(std::string name, std::string description) {
  return {std::move(name), Type::text, std::move(description)};
}
Field integer(std::string name, std::string description) {
  return {std::move(name), Type::integer, std::move(description)};
}
Field flag(std::string name, std::string description) {
  return {std::move(name), Type::flag, std::move(description)};
}
Field time(std::string name, std::string description) {
  return {std::move(name), Type::time, std::move(description)};
}
Field texts(std::string name, std::string description) {
  return {std::move(name), Type::list, std::move(description)};
}
Field list_of(std::string schema, std::string name, std::string description) {
  Field field{std::move(name), Type::list, std::move(description)};
  field.of = std::move(schema);
  return field;
}
Field object_of(std::string schema, std::string name, std::string description) {
  Field field{std::move(name), Type::object, std::move(description)};
  field.of = std::move(schema);
  return field;
}
Field not_always(Field field) {
  field.required = false;
  return field;
}
Field choice(Field field, std::vector<std::string> choices) {
  field.choices = std::move(choices);
  return field;
}

std::vector<Schema> access_schemas() {
  return {
      {"Desktop",
       "A virtual desktop that was let in",
       {text("desktop", "Its name"), text("pool", "The pool it is in"),
        text("serial", "Of its first certificate"), time("enrolled_time", "When it was let in"),
        flag("revoked", "Its certificates are refused"),
        not_always(text("disk", "Its disk on the coordinator's host; empty: not known")),
        not_always(integer("partition", "Of that disk; 0: the first with NTFS"))}},
      {"EnrolledDesktop",
       "The identity of a desktop that was let in: the key is a secret, told here only",
       {text("desktop", "Its name"), text("serial", "Of its certificate"),
        text("coordinator", "Where it finds the coordinator"), text("key_pem", "Its private key, a secret"),
        text("certificate_pem", "Its certificate"), text("ca_pem", "Whose certificates it believes")}},
      {"RevokedDesktop", "", {text("desktop", "Its name"), flag("revoked", "True")}},
      {"MovedDesktop", "", {text("desktop", "Its name"), text("pool", "The pool it is in now")}},
      {"Pool",
       "Desktops that are treated alike",
       {text("pool", "Its name"),
        choice(text("session_policy", "What a second log-in to a profile does"),
               {"takeover", "refuse", "read-only", "concurrent"}),
        not_always(integer("quota_bytes", "What a profile may hold; 0: no limit")),
        not_always(time("created_time", "When it was made"))}},
      {"EnrolmentToken",
       "Lets desktops in; the token itself is told only when it is made",
       {text("id", "To name it by"), text("pool", "Where its desktops come to be"),
        integer("uses", "How many desktops it lets in"), integer("uses_left", "How many more"),
        time("created_time", "When it was made"), time("expires_time", "When it ends"),
        text("created_by", "By whom"),
        choice(text("state", "Whether it may be used"), {"good", "used up", "expired", "revoked"})}},
      {"NewEnrolmentToken",
       "A token, and what a desktop needs with it; a secret, told here only",
       {text("id", "To name it by"), text("token", "The token, a secret"),
        text("pool", "Where its desktops come to be"), integer("uses", "How many desktops it lets in"),
        time("expires_time", "When it ends"), text("coordinator", "Where desktops find the coordinator"),
        text("ca_pem", "Whose certificates they believe")}},
      {"RevokedToken", "", {text("id", "The token's"), flag("revoked", "True")}},
      {"Assignment",
       "A profile that a desktop may open",
       {text("desktop", "The desktop"), text("profile", "The profile"),
        not_always(time("until_time", "When it ends; without: never"))}},
      {"ChangedAssignment",
       "",
       {text("desktop", "The desktop"), text("profile", "The profile"),
        flag("assigned", "Whether the desktop may open it now")}},
      {"RulePool", "", {text("pool", "The pool"), not_always(time("until_time", "When the rule ends"))}},
      {"Group",
       "Profiles that are assigned together",
       {text("group", "Its name"), texts("profiles", "Its members"),
        list_of("RulePool", "pools", "The pools whose desktops may open them")}},
      {"NewGroup", "", {text("group", "Its name")}},
      {"RemovedGroup", "", {text("group", "Its name"), flag("removed", "True")}},
      {"Member",
       "",
       {text("group", "The group"), text("profile", "The profile"), flag("member", "Whether it is in now")}},
      {"Rule",
       "Desktops of the pool may open the profiles of the group",
       {text("pool", "The pool"), text("group", "The group"),
        not_always(time("until_time", "When it ends; without: never"))}},
      {"RemovedRule", "", {text("pool", "The pool"), text("group", "The group"), flag("removed", "True")}},
      {"Administrator",
       "A certificate by which an administrator comes in here",
       {text("administrator", "The name"), text("serial", "Of the certificate"),
        choice(text("role", "What it may do"), {"viewer", "operator", "administrator"}),
        time("issued_time", "When it was issued"), time("expires_time", "When it ends"),
        text("issued_by", "By whom"),
        choice(text("state", "Whether it is let in"), {"good", "expired", "revoked"})}},
      {"RevokedAdministrator", "", {text("administrator", "The name"), flag("revoked", "True")}},
  };
}

std::vector<Schema> profile_schemas() {
  return {
      {"Profile",
       "All that belongs to one user",
       {text("profile", "Its name"), text("id", "For ever the same"),
        integer("head", "The version that the next log-in gets; 0: none yet")}},
      {"SessionQuota",
       "A session of the profile, and the quota that holds for it",
       {text("session", "Its id"), text("desktop", "Its desktop"),
        integer("quota_bytes", "What the profile may hold; 0: no limit"),
        text("quota_from", "Whose quota it is; empty: nobody's"),
        flag("over_quota", "Nothing is saved until there is room"),
        integer("refused_bytes", "What waits to be saved")}},
      {"ProfileUsage",
       "What a profile holds and may hold",
       {text("profile", "Its name"), text("id", "For ever the same"),
        integer("head", "The version of which this is told"), integer("versions", "Versions, forks too"),
        integer("logical_bytes", "What it holds"),
        not_always(integer("quota_bytes", "Its own quota; without: its pool's")),
        integer("open_forks", "Neither merged nor discarded"),
        list_of("SessionQuota", "sessions", "Who has it open")}},
      {"ProfileQuota",
       "",
       {text("profile", "Its name"),
        not_always(integer("quota_bytes", "Its own quota; without: its pool's"))}},
      {"ProfileRules",
       "",
       {text("profile", "Its name"), text("rules", "TOML (docs/format-rules.md); empty: none"),
        integer("count", "How many, with those that ship where they are wanted"),
        text("hash", "Of what they do; empty: there are none")}},
      {"PoolRules",
       "",
       {text("pool", "Its name"), text("rules", "TOML (docs/format-rules.md); empty: none"),
        integer("count", "How many, with those that ship where they are wanted"),
        text("hash", "Of what they do; empty: there are none")}},
      {"AgentSetting", "", {text("name", "As docs/agent.md has it"), text("value", "Its value as text")}},
      {"PoolSettings",
       "",
       {text("pool", "Its name"), text("text", "TOML (docs/provisioning.md); empty: none"),
        list_of("AgentSetting", "settings", "What its agents are sent")}},
      {"NewProfile",
       "",
       {text("name", "Its name"), text("id", "For ever the same"), integer("head", "0: it is empty")}},
      {"HeldBack", "", {text("path", "What was not saved as it was"), text("reason", "Why")}},
      {"Version",
       "One state of a profile, never changed",
       {integer("version", "Its number in the profile"),
        integer("parent", "What it was made from; 0: nothing"),
        choice(text("kind", "How it came to be"),
               {"import", "batch", "fork", "restore", "merge", "discard", "concurrent"}),
        flag("on_head_line", "Not a fork"), text("desktop", "Who saved it; empty: nobody's desktop"),
        text("session", "The log-in it is of"), text("incarnation", "The agent's start it is of"),
        integer("ordinal", "Of the snapshot in the incarnation"), integer("epoch", "Of the profile's lease"),
        text("snapshot", "The layer it was cut from"), flag("final", "The session's last"),
        not_always(time("committed_time", "When it was durable")), integer("records", "Changes"),
        integer("new_bytes", "What it takes on storage"),
        not_always(integer("logical_bytes", "What the profile holds in it, where that is known")),
        integer("merged", "Of a merge: the fork that it brought in"),
        list_of("HeldBack", "held_back", "What could not be saved as it was")}},
      {"Fork",
       "What was saved beside the head",
       {integer("fork", "Its last version"), integer("base", "Where it left the head line"),
        integer("versions", "How many it has"), integer("records", "Changes"),
        text("desktop", "Who saved it"), text("session", "The log-in it is of"),
        not_always(time("committed_time", "When it was durable")),
        integer("merged", "The version that brought it to the head line; 0: none"),
        integer("discarded", "The version that marks it as not wanted; 0: none")}},
      {"MergeConflict",
       "",
       {choice(text("kind", "What both sides did"), {"both-changed", "deleted-at-head", "deleted-in-fork"}),
        text("path", "Where"), text("kept_as", "Where the loser is; empty: only in the fork"),
        text("text", "As a sentence")}},
      {"MergePreview",
       "What a merge would do",
       {text("profile", "The profile"), integer("fork", "The fork"),
        integer("base", "Where it left the head line"), integer("head", "The head it would be merged into"),
        integer("records", "Changes it would bring"),
        list_of("MergeConflict", "conflicts", "Where both sides changed the same")}},
      {"DiscardedFork",
       "",
       {text("profile", "The profile"), integer("fork", "The fork"),
        integer("mark", "The version that marks it as not wanted")}},
      {"Session",
       "One log-in of a user",
       {text("session", "Its id"), text("profile", "The profile"), text("desktop", "The desktop"),
        choice(text("state", "Where it stands"), {"active", "closed", "superseded"}),
        choice(text("mode", "What it may save"), {"exclusive", "reader", "concurrent"}),
        integer("epoch", "Of the profile's lease"), integer("pinned_version", "What it was opened at"),
        integer("last_version", "What it saved last"), integer("last_ordinal", "Of its last snapshot"),
        time("opened_time", "When it began"), not_always(time("ended_time", "When it ended")),
        not_always(
            {"lease_seconds_left", Type::number, "Below 0: nothing was heard for longer than the lease"}),
        not_always(flag("connected", "Its desktop is")),
        not_always(flag("vanished", "No connection, and the lease has run out")),
        not_always(choice(text("use", "Whether somebody is logged on, or it was opened ahead of a log-on"),
                          {"in use", "preparing", "ready"})),
        not_always(flag("over_quota",
                        "The profile would hold more than it may: nothing is saved until it does not")),
        not_always(text("wanted_by", "The desktop that it is to be handed over to"))}},
      {"ClosingSession",
       "Its desktop was asked to log the user out",
       {text("session", "As it was named"), flag("asked", "True"),
        integer("within_seconds", "The time it was given")}},
  };
}

std::vector<Schema> provisioning_schemas() {
  return {
      {"Adapter",
       "",
       {text("id", "Its GUID"), text("name", "As Windows shows it"), text("instance", "Of the device")}},
      {"Image",
       "A golden image that was imported",
       {text("image", "Its name"), text("disk", "On the coordinator's host"),
        text("format", "vhdx, vhd or qcow2"), integer("virtual_bytes", "The disk's size"),
        integer("partition", "Where Windows is"), text("product", "Of Windows"),
        text("version", "Of Windows"), integer("build", "Of Windows"), text("architecture", "Of Windows"),
        text("control_set", "The one in use"), text("computer_name", "Of the machine that it was"),
        flag("generalised", "By sysprep"), text("agent", "The agent's version; empty: none"),
        list_of("Adapter", "adapters", "Of the network"), texts("warnings", "What may go wrong"),
        not_always(flag("cross_checked", "A second reader reads the same")),
        time("imported_time", "When it was imported")}},
      {"ProvisionedPool",
       "Desktops made from an image",
       {text("pool", "Its name"), text("image", "What they are made from"),
        text("directory", "Of their disks"), time("created_time", "When it was begun"),
        integer("clones", "Desktops"), integer("made", "Of them made"), integer("failed", "Of them failed"),
        integer("planned", "Of them not yet made")}},
      {"Clone",
       "A desktop made from an image",
       {text("clone", "Its name"), text("pool", "Its pool"), integer("number", "In the pool, from 0"),
        text("state", "Where it stands"), not_always(text("error", "Of one that failed")),
        not_always(time("made_time", "When it was made")),
        choice(text("boot", "How far its first start is"), {"made", "started", "ready", "failed-first-boot"}),
        not_always(text("boot_detail", "Which step, and why")),
        not_always(time("boot_since_time", "When it got so far")),
        flag("ready", "It is made, and all that is run once is done")}},
  };
}

std::vector<Schema> system_schemas() {
  return {
      {"RepositoryStatistics",
       "",
       {integer("profiles", "Profiles"), integer("versions", "Versions"), integer("objects", "Objects"),
        integer("packs", "Packs"), integer("pack_bytes", "On storage"),
        integer("logical_bytes", "Of all objects, uncompressed")}},
      {"MetricLabel", "", {text("name", "Its name"), text("value", "Its value")}},
      {"Metric",
       "A number as /metrics has it; of a distribution the count and the sum",
       {text("name", "Its name"),
        list_of("MetricLabel", "labels", "What tells it from others of the name"),
        {"value", Type::number, "In the unit that its name ends in"}}},
      {"Status",
       "How the coordinator is doing; numbers grow from its start, but those of the moment",
       {time("measured_time", "When"), list_of("Metric", "metrics", "All of them")}},
      {"AuditField", "", {text("name", "Its name"), text("value", "Its value")}},
      {"AuditRecord",
       "Who did or tried what",
       {integer("seq", "Its number"), time("time", "When"), text("what", "The act"),
        not_always(text("who", "Whose")), not_always(text("about", "What it was about")),
        not_always(choice(text("outcome", "How it ended"), {"done", "refused", "failed"})),
        not_always(text("reason", "Why it was not done")),
        list_of("AuditField", "fields", "What else is known of it")}},
      {"Progress",
       "",
       {text("what", "What is being done"), integer("done", "How much of it"),
        integer("total", "Of how much; 0: not known")}},
      {"Operation",
       "Something that takes longer",
       {text("operation", "Its id"), text("kind", "What it does: the operationId that began it"),
        text("about", "What it is about"),
        choice(text("state", "Where it stands"), {"running", "done", "failed"}),
        text("created_by", "By whom"), time("created_time", "When it began"),
        not_always(time("ended_time", "When it ended")),
        not_always(object_of("Progress", "progress", "The last that is known of it")),
        not_always({"result", Type::any, "Of one that is done: an object, as its kind has it"}),
        not_always(object_of("Problem", "problem", "Of one that failed"))}},
      {"FieldFault", "", {text("pointer", "The field (RFC 6901)"), text("detail", "What is wrong with it")}},
      {"Problem",
       "What went wrong (RFC 9457)",
       {text("type", "Its kind, for ever the same"), text("title", "The kind in words"),
        integer("status", "The HTTP status"), text("detail", "What, where, and what to do"),
        not_always(text("instance", "The request's path")),
        not_always(list_of("FieldFault", "errors", "Of each field that is wrong"))}},
  };
}

}  // namespace

const std::vector<Schema>& schemas() {
  static const std::vector<Schema> all = [] {
    auto list = access_schemas();
    for (auto more : {profile_schemas(), provisioning_schemas(), system_schemas()})
      list.insert(list.end(), more.begin(), more.end());
    return list;
  }();
  return all;
}

}  // namespace roamstead::rest
