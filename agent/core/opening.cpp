#include "agent/core/opening.h"

#include "agent/core/session_rules.h"
#include "agent/core/unused_mark.h"

#include "common/base/log.h"

namespace roamstead::agent {

using changelog::SessionFacts;
using extract::ProvenanceJournal;

namespace {
constexpr const char* kTrashPrefix = "trash-";

wire::SessionUse use_of(const SessionConfig& config) {
  return config.ahead ? wire::SessionUse::preparing : wire::SessionUse::in_use;
}
}  // namespace

Result<Opened> Opening::run() {
  RS_TRY(auto facts, log_.session());
  if (facts && facts->open) {
    RS_TRY(const bool unused, is_marked_unused(volume_, config_.agent_root, facts->session));
    if (config_.ahead && !unused)
      return fail(ErrorCode::exists, "the session of '" + facts->profile +
                                         "' that was not closed waits to be resumed by a log-on");
    std::optional<Opened> resumed;
    if (unused && (facts->profile != config_.profile || facts->profile_root != config_.profile_root)) {
      RS_CHECK(close_unused(*facts));
    } else {
      RS_TRY(resumed, resume(*facts, unused));
    }
    if (resumed) return std::move(*resumed);
    facts->open = false;
  }
  RS_CHECK(check_leftovers(facts));
  return open_afresh();
}

Result<std::unique_ptr<ProvenanceJournal>> Opening::open_journal() {
  auto path = volume_.native_path(journal_path());
  RS_TRY(bool there, volume_.files().exists(path));
  if (!there) return nullptr;
  return ProvenanceJournal::open(volume_.files(), path);
}

// Nothing when the session ended before anything could happen in it: then a new one may begin.
Result<std::optional<Opened>> Opening::resume(const SessionFacts& facts, bool unused) {
  auto context = "the session of '" + facts.profile + "' that was not closed";
  auto journal = open_journal();
  bool same = journal && *journal && (*journal)->header().session == facts.session;
  if (!same) {
    RS_TRY(auto waiting, log_.pending());
    if (waiting == 0 && facts.highest_ordinal == 0 && facts.last_cut.is_zero() &&
        (journal || journal.error().code == ErrorCode::corrupt)) {
      // The process ended between opening the session and making the journal: no program has seen the
      // profile.
      (void)link_.close(facts.session_secret);
      RS_CHECK(log_.close_session());
      return std::optional<Opened>();
    }
    if (!journal) return fail(std::move(journal).error().with(context));
    return fail(ErrorCode::conflict,
                context + " cannot be resumed: the volume does not hold its provenance journal (" +
                    journal_path() + "); attach the volume it ran on");
  }
  if (facts.profile != config_.profile || facts.profile_root != config_.profile_root)
    return fail(ErrorCode::busy,
                context + " must be resumed and logged out first (profile root " + facts.profile_root + ")");
  wire::OpenRequest request{config_.profile, config_.profile_root,
                            wire::ResumeInfo{facts.session_secret, facts.incarnation, facts.highest_ordinal},
                            use_of(config_)};
  auto opened_again = link_.open(request);
  if (!opened_again && opened_again.error().code == ErrorCode::stale && unused) {
    RS_CHECK(log_.close_session());
    return std::optional<Opened>();
  }
  if (!opened_again && opened_again.error().code == ErrorCode::stale) {
    log_warning("{}: {}; sending what is left of it", context, opened_again.error().to_string());
    RS_CHECK_CTX("sending what is left of " + context, salvage(facts));
    return std::optional<Opened>();
  }
  RS_TRY_CTX(auto reply, "resuming " + context, std::move(opened_again));
  if (reply.version != facts.version)
    return fail(ErrorCode::protocol, "resuming " + context + ": the coordinator pins version " +
                                         std::to_string(reply.version) + ", it was " +
                                         std::to_string(facts.version));
  RS_CHECK(log_.resume_session(reply.incarnation, reply.committed_ordinal));
  RS_TRY(auto now, log_.session());
  Opened opened;
  opened.journal = std::move(*journal);
  opened.facts = *now;
  opened.root = std::move(reply.root);
  opened.resumed = true;
  opened.lease_seconds = reply.lease_seconds;
  opened.may_save = reply.may_save;
  RS_TRY_CTX(opened.rules, context, kept_rules(volume_, config_.agent_root));
  if (unused && !config_.ahead) RS_CHECK_CTX(context, mark_used(volume_, config_.agent_root));
  return std::optional(std::move(opened));
}

Result<void> Opening::close_unused(const SessionFacts& facts) {
  RS_CHECK(log_.close_session());
  if (auto closed = link_.close(facts.session_secret); !closed)  // its lease runs out
    log_info("the coordinator was not told that nobody logged on as '{}': {}", facts.profile,
             closed.error().to_string());
  return {};
}

Result<void> Opening::salvage(const SessionFacts& facts) {
  if (config_.registry_port) {
    const auto registry =
        config_.registry_port([this] { return staging_root() + "/" + Guid::random().to_string(); });
    RS_CHECK_CTX("registry", registry->flush());
  }
  RS_TRY(const auto rules, kept_rules(volume_, config_.agent_root));
  RS_CHECK(note_log_out(volume_, config_.agent_root, facts.session, rules));
  RS_CHECK(volume_.sync());
  RS_CHECK(snapshots_.save_rest(facts, log_, link_));
  return log_.close_session();
}

// Whether what lies on the volume may go: only what a session closed here answers for, or what no program has
// seen, or when the caller says so. The profile's root gets its name when the journal and the change log's
// note of the session are durable: without it a log-in was interrupted, whatever there is of the two.
Result<void> Opening::check_leftovers(const std::optional<SessionFacts>& facts) {
  if (config_.replace_leftovers) return {};
  auto root = volume_.stat(config_.profile_root);
  if (!root && root.error().code != ErrorCode::not_found) return fail(root.error());
  auto named = [&](const std::string& path) { return volume_.stat(path).has_value(); };
  auto opened = open_journal();
  if (!opened && opened.error().code == ErrorCode::corrupt && !root && !(facts && named(facts->profile_root)))
    return {};
  RS_TRY(auto journal, std::move(opened));
  if (!journal && root)
    return fail(ErrorCode::exists,
                "'" + config_.profile_root + "' is on the volume already and belongs to no session of ours");
  if (!journal) return {};
  auto& header = journal->header();
  if (facts && !facts->open && facts->session == header.session)
    return {};  // closed: everything was acknowledged
  if (!root && !named(header.profile_root)) return {};
  return fail(ErrorCode::conflict,
              "the volume holds a session of '" + header.profile + "' (" + header.session.to_string() +
                  ") that this change log does not know as closed: its changes may not be sent");
}

Result<void> Opening::set_leftovers_aside() {
  std::vector<std::pair<std::string, std::string>> moves = {{config_.profile_root, "profile"},
                                                            {config_.agent_root + "/registry", "registry"}};
  auto staged = volume_.list(staging_root());
  if (!staged || !staged->empty()) moves.emplace_back(staging_root(), "staging");
  // The former session may have kept its profile elsewhere.
  auto journal = open_journal();
  if (journal && *journal) {
    const auto& header = (*journal)->header();
    const auto rules = kept_rules(volume_, config_.agent_root);
    auto kept =
        rules ? put_local_aside(volume_, config_.agent_root, header.profile, header.profile_root, *rules)
              : fail(rules.error());
    if (!kept)
      log_warning("what is to stay on this desktop goes with the former session: {}",
                  kept.error().to_string());
  }
  if (journal && *journal) moves.emplace_back((*journal)->header().profile_root, "former");
  std::string aside;  // made when something is there
  for (auto& [from, name] : moves) {
    auto there = volume_.stat(from);
    if (!there && there.error().code == ErrorCode::not_found) continue;
    if (aside.empty()) {
      aside = config_.agent_root + "/" + kTrashPrefix + Guid::random().to_string();
      RS_CHECK(volume_.make_directories(aside));
    }
    RS_CHECK(volume_.rename(from, aside + "/" + name));
  }
  // The rules last: as long as the journal is there, they are those of its session.
  auto removed = volume_.files().remove(volume_.native_path(journal_path()));
  if (!removed && removed.error().code != ErrorCode::not_found) return removed;
  RS_CHECK(forget_rules(volume_, config_.agent_root));
  return removed || !aside.empty() ? volume_.sync() : Result<void>{};
}

Result<void> Opening::make_folders() {
  RS_CHECK(volume_.make_directories(staging_root()));
  if (auto parent = os::parent_directory(config_.profile_root); parent != ".")
    RS_CHECK(volume_.make_directories(parent));
  return {};
}

Result<void> Opening::prepare() {
  if (config_.replace_leftovers) return {};  // that is for a log-in to do
  RS_TRY(auto facts, log_.session());
  if (facts && facts->open) return {};
  if (!check_leftovers(facts)) return {};
  RS_CHECK_CTX("setting the former session aside", set_leftovers_aside());
  RS_CHECK(make_folders());
  return volume_.sync();
}

Result<Opened> Opening::open_afresh() {
  RS_TRY_CTX(
      auto reply, "log-in of '" + config_.profile + "'",
      link_.open(wire::OpenRequest{config_.profile, config_.profile_root, std::nullopt, use_of(config_)}));
  if (!reply.root.is_directory()) return fail(ErrorCode::protocol, "the profile's root is not a directory");
  RS_CHECK_CTX("setting the former session aside", set_leftovers_aside());
  RS_CHECK(make_folders());
  RS_CHECK_CTX("log-in of '" + config_.profile + "'", keep_rules(volume_, config_.agent_root, reply.rules));
  if (config_.ahead)
    RS_CHECK_CTX("log-in of '" + config_.profile + "'",
                 mark_unused(volume_, config_.agent_root, reply.session));
  Opened opened;
  RS_TRY(opened.rules, profile::Rules::parse(reply.rules));
  opened.facts = {reply.session,
                  reply.session_secret,
                  reply.incarnation,
                  config_.profile,
                  config_.profile_root,
                  reply.version,
                  0,
                  Guid(),
                  true};
  opened.root = std::move(reply.root);
  opened.lease_seconds = reply.lease_seconds;
  opened.may_save = reply.may_save;
  opened.working_set = std::move(reply.working_set);
  // From here on a crash leaves a session that is resumed; or, without a whole journal or without the note of
  // it, one that is closed and opened anew.
  extract::JournalHeader header{reply.session, config_.profile, reply.version, config_.profile_root,
                                staging_root()};
  RS_TRY(opened.journal,
         ProvenanceJournal::begin(volume_.files(), volume_.native_path(journal_path()), header));
  opened.noted = std::async(std::launch::async,
                            [&log = log_, facts = opened.facts] { return log.begin_session(facts); });
  return opened;
}

Result<void> empty_trash(const ProfileVolume::GoOn& go_on, ProfileVolume& volume,
                         const std::string& agent_root) {
  RS_TRY(auto items, volume.list(agent_root));
  for (auto& item : items) {
    if (item.name.rfind(kTrashPrefix, 0) != 0) continue;
    RS_TRY(const bool gone, volume.remove_tree_while(go_on, agent_root + "/" + item.name));
    if (!gone) break;
  }
  return {};
}

}  // namespace roamstead::agent
