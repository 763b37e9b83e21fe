#include "agent/core/session.h"

#include "agent/core/opening.h"
#include "agent/core/session_rules.h"
#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {

using Clock = Activity::Clock;

std::string_view to_string(SessionPhase phase) {
  switch (phase) {
    case SessionPhase::open:
      return "open";
    case SessionPhase::reading:
      return "reading";
    case SessionPhase::flushing:
      return "flushing";
    case SessionPhase::handed_over:
      return "handed over";
    case SessionPhase::superseded:
      return "superseded";
  }
  return "unknown";
}

Result<std::unique_ptr<Session>> Session::start(const SessionConfig& config, wire::CoordinatorLink& link,
                                                ProfileVolume& volume, SnapshotProvider& snapshots,
                                                Faults faults, std::unique_ptr<changelog::ChangeLog> log) {
  auto start = Clock::now();
  std::unique_ptr<Session> session(new Session(config, link, volume));
  session->log_ = std::move(log);
  if (!session->log_) {
    RS_TRY(session->log_,
           changelog::ChangeLog::open(os::real_file_system(), config.change_log_path, std::move(faults)));
  }
  RS_TRY(auto opened, Opening(config, link, volume, snapshots, *session->log_).run());
  session->journal_ = std::move(opened.journal);
  session->facts_ = opened.facts;
  session->resumed_ = opened.resumed;
  session->rules_ = std::move(opened.rules);
  session->changed_ = opened.resumed;  // what was changed before is not cut yet, perhaps
  if (opened.lease_seconds != 0)
    session->renew_every_ = std::chrono::seconds(std::max<std::uint32_t>(1, opened.lease_seconds / 3));
  session->prewarmed_ = PrewarmedLink::open(link, volume, config.agent_root, opened.facts.profile,
                                            opened.facts.version, opened.root);
  auto* way = session->prewarmed_ ? static_cast<wire::CoordinatorLink*>(session->prewarmed_.get()) : &link;
  if (!session->rules_.empty()) {
    session->ruled_ = std::make_unique<RuledLink>(*way, session->rules_);
    way = session->ruled_.get();
  }
  session->loader_ =
      std::make_unique<Loader>(*way, opened.facts.session_secret, volume, *session->journal_, config.loader);
  auto& loader = *session->loader_;
  loader.set_rules(&session->rules_);
  if (config.ahead) session->use_ = wire::SessionUse::preparing;
  session->renewed_ = Clock::now().time_since_epoch().count();
  if (config.learn_for.count() != 0) {
    if (!config.ahead) session->learner_.start(config.learn_for);
    loader.set_learner(&session->learner_);
  }
  if (!opened.may_save) {
    session->phase_ = SessionPhase::reading;
    loader.gate().refuse_programs(true);
  }
  RS_CHECK(session->start_registry());
  if (opened.resumed) RS_CHECK(loader.recover());
  RS_CHECK(loader.publish_root(opened.root,
                               [&] { return opened.noted.valid() ? opened.noted.get() : Result<void>(); }));
  if (opened.noted.valid()) RS_CHECK(opened.noted.get());
  if (auto back = bring_local_back(loader, volume, config.agent_root, config.profile, config.profile_root,
                                   session->rules_);
      !back)
    log_warning("what stays on this desktop is not there yet: {}", back.error().to_string());
  session->saver_ = snapshots.saver({loader, *session->registry_port_, volume, *session->log_, link,
                                     opened.facts.session_secret, config.sender});
  session->fill_ =
      std::make_unique<Fill>(loader, volume, config.profile_root, config.fill_bytes_per_second, config.load);
  if (auto* preview = loader.preview()) {
    session->settler_ = std::make_unique<Settler>(loader, volume, config.profile_root);
    preview->set_touched(
        [settler = session->settler_.get()](const Touched& touched) { settler->add(touched); });
  }
  session->start_threads();
  session->prefetch_ = std::make_unique<Prefetch>(loader, *session->registry_, volume, config.profile_root);
  std::erase_if(opened.working_set, [&](const wire::WorkingItem& item) {
    return item.kind != wire::WorkingItem::Kind::key &&
           session->rules_.file(item.path).loading == profile::Loading::on_demand;
  });
  for (const auto& item : opened.working_set)
    if (const auto path = profile::ProfilePath::parse(item.path);
        path && item.kind == wire::WorkingItem::Kind::directory)
      session->first_directories_.push_back(*path);
  session->prefetch_->start(std::move(opened.working_set));
  session->preloaded_ = preload(loader, *session->registry_, volume, session->config_.profile_root,
                                session->rules_, config.preload_patience);
  session->login_seconds_ = Activity::seconds_since(start);
  return session;
}

Result<void> Session::prepare(const SessionConfig& config, wire::CoordinatorLink& link, ProfileVolume& volume,
                              SnapshotProvider& snapshots, changelog::ChangeLog& log) {
  RS_CHECK(Opening(config, link, volume, snapshots, log).prepare());
  // The layers of the session before, which did not wait for that when it ended.
  RS_TRY(auto facts, log.session());
  RS_TRY(auto waiting, log.pending());
  return facts && !facts->open && waiting == 0 ? snapshots.tidy(facts->last_cut) : Result<void>{};
}

Session::~Session() { stop_threads(); }

Result<void> Session::start_registry() {
  auto new_staging_path = [this] { return loader_->new_staging_path(); };
  if (config_.registry_port) {
    registry_port_ = config_.registry_port(new_staging_path);
  } else {
    registry_port_ = std::make_unique<HiveFilePort>(volume_, new_staging_path);
  }
  RegistryLoaderOptions options;
  options.patience = config_.loader.patience;
  RegistryLoader::Place place{facts_.session, config_.profile_root,
                              config_.agent_root + "/provenance.journal"};
  registry_ = std::make_unique<RegistryLoader>(
      ruled_ ? static_cast<wire::CoordinatorLink&>(*ruled_) : link_, facts_.session_secret, volume_,
      *registry_port_, loader_->gate(), loader_->activity(), std::move(place), options);
  loader_->set_registry(registry_.get());
  std::map<profile::ProfilePath, profile::Entry> hives;
  journal_->inspect([&](const extract::Provenance& provenance) {
    for (const auto id : provenance.hive_items())
      if (const auto item = provenance.find(id);
          item->entry.kind == profile::EntryKind::registry && !item->withdrawn)
        hives[item->base_path] = item->entry;
  });
  RS_CHECK(registry_->recover(hives));
  // What cannot be finished now is loaded again when it is wanted.
  if (auto finished = registry_->finish_interrupted(); !finished)
    log_warning("keys whose loading was interrupted: {}", finished.error().to_string());
  return {};
}

Result<void> Session::load_key(const std::string& hive, const std::string& key) {
  RS_TRY(const auto path, profile::KeyPath::parse(key));
  for (const auto& known : profile::hive_paths()) {
    if (!same_name(hive, known.text()) && !same_name(hive, known.name())) continue;
    RS_CHECK(loader_->populate_above(known, Priority::foreground));
    learner_.key(known, path);
    return registry_->load(known, path, true);
  }
  return fail(ErrorCode::not_found, "'" + hive + "' is none of a profile's hives");
}

void Session::start_threads() {
  saver_->start();
  if (settler_) settler_->start();
  answerer_.start([this] { answer_pushes(); });
  link_.set_push_listener([this](const wire::Push& push) { hear(push); });
  housekeeper_.start([this] { keep_house(); });
  sweeper_.start([this] { sweep(); });
  snapshotter_.start([this] { take_snapshots(); });
}

void Session::stop_threads() {
  link_.set_push_listener(nullptr);
  if (saver_) saver_->stop();  // first: others may be waiting for it
  answerer_.stop();
  if (prefetch_) prefetch_->stop();
  if (settler_) settler_->stop();
  if (fill_) fill_->stop();
  snapshotter_.stop();
  housekeeper_.stop();
  sweeper_.stop();
}

void Session::note_error(const Result<void>& result) {
  if (!result) log_warning("{}", result.error().to_string());
  std::lock_guard lock(error_mutex_);
  last_error_ = result ? "" : result.error().to_string();
}

// What sessions before left: the frozen layers of the last one, and the profiles set aside.
void Session::sweep() {
  if (auto tidied = saver_->tidy(); !tidied)
    log_info("merging frozen layers: {}", tidied.error().to_string());
  const auto emptied = empty_trash([this] { return !sweeper_.stopping(); }, volume_, config_.agent_root);
  if (!emptied) note_error(emptied);
}

// Tags are recorded about every second, so that a crash costs little; the lease is renewed in good time.
void Session::keep_house() {
  constexpr auto kTagInterval = std::chrono::milliseconds(1000);
  auto renew_at = Clock::now() + renew_every_;
  auto told = config_.ahead ? wire::SessionUse::preparing : wire::SessionUse::in_use;  // as it was opened
  while (housekeeper_.sleep(kTagInterval)) {
    if (auto flushed = loader_->flush_tags(); !flushed) note_error(flushed);
    journal_->put_away_if_unused();
    if (learner_.is_over()) tell_what_was_learnt();
    if (told != use_) {
      told = use_;
      renew_at = Clock::now();
    }
    if (Clock::now() < renew_at) continue;
    renew_at = Clock::now() + renew_every_;
    renew_lease();
  }
}

void Session::renew_lease() {
  if (phase_ == SessionPhase::handed_over || phase_ == SessionPhase::superseded) return;
  // A coordinator that was started anew does not know of what use the session is.
  auto renewed = saver_->renew();
  if (renewed && config_.ahead) renewed = link_.tell_use(facts_.session_secret, use_);
  note_error(renewed);
  renewal_failed_ = !renewed;
  if (renewed) renewed_ = Clock::now().time_since_epoch().count();
  if (!renewed && renewed.error().code == ErrorCode::stale) note_superseded();
}

void Session::take_snapshots() {
  constexpr auto kPatience =
      std::chrono::milliseconds(0);  // an interval snapshot is put off rather than waited for
  const auto interval = [this] {     // where the coordinator says when, it rings
    const auto own = snapshot_interval_.load();
    return own.count() == 0 || saver_->is_told_when() ? std::chrono::hours(24) : own;
  };
  while (snapshotter_.sleep(interval())) {
    if (snapshot_interval_.load().count() == 0) continue;
    if (interval_changed_.exchange(false) && !saver_->is_told_when()) continue;
    if (!changed_.exchange(false) && !saver_->left_something()) {
      if (auto tidied = saver_->tidy(); !tidied) note_error(fail(tidied.error()));
      continue;
    }
    auto taken = saver_->take(SnapshotKind::interval, kPatience);
    if (!taken || !taken->taken) changed_ = true;
    if (taken && taken->taken) ++snapshots_taken_;
    note_error(taken ? Result<void>() : fail(taken.error()));
  }
}

void Session::set_snapshot_interval(std::chrono::milliseconds interval) {
  if (snapshot_interval_.exchange(interval) == interval) return;
  interval_changed_ = true;
  snapshotter_.ring();
}

// Once; a coordinator that cannot be reached just now does without.
void Session::tell_what_was_learnt() {
  auto items = learner_.take();
  if (items.empty()) return;
  if (auto told = link_.learned(facts_.session_secret, items); !told)
    log_info("the coordinator was not told what the log-in touched: {}", told.error().to_string());
}

Result<SnapshotResult> Session::snapshot(bool committed, std::chrono::milliseconds patience) {
  changed_ = false;
  auto taken = saver_->take(SnapshotKind::explicit_request, patience);
  if (!taken || !taken->taken) changed_ = true;
  if (!taken) return taken;
  ++snapshots_taken_;
  if (committed) {
    RS_CHECK(saver_->drain(patience));
    RS_TRY(auto layers, saver_->tidy());
    (void)layers;
  }
  return taken;
}

Result<SessionStatus> Session::status() {
  SessionStatus status;
  RS_TRY(auto facts, log_->session());
  if (facts) status.facts = *facts;
  status.resumed = resumed_;
  status.phase = phase_;
  status.use = use_;
  status.login_seconds = login_seconds_;
  status.rules = rules_.all().size();
  status.rules_hash = rules_.hash();
  status.preloaded = preloaded_;
  RS_TRY(status.sender, saver_->status());
  status.fill = fill_->progress();
  status.prefetched = prefetch_->done();
  status.to_prefetch = prefetch_->total();
  if (settler_) status.to_settle = settler_->waiting();
  auto& counters = loader_->counters();
  status.directories_populated = counters.directories_populated;
  status.items_published = counters.items_published;
  status.fetches = counters.fetches;
  status.fetched_bytes = counters.fetched_bytes;
  if (auto* preview = loader_->preview()) {
    status.fetches += preview->counters().fetches;
    status.fetched_bytes += preview->counters().fetched_bytes;
  }
  status.registry = registry_->progress();
  status.snapshots = snapshots_taken_;
  status.sent_bytes = link_.bytes_sent();
  status.received_bytes = link_.bytes_received();
  auto layers = saver_->frozen_layers();
  if (layers) status.frozen_layers = *layers;
  std::lock_guard lock(error_mutex_);
  status.last_error = layers ? last_error_ : layers.error().to_string();
  return status;
}

Result<LogoutReport> Session::logout(std::chrono::milliseconds patience) {
  auto start = Clock::now();
  // It is on its way out already: of what the coordinator says only what became of the snapshot counts.
  link_.set_push_listener([this](const wire::Push& push) {
    if (push.session == facts_.session) saver_->note(push);
  });
  answerer_.stop();
  prefetch_->stop();
  tell_what_was_learnt();
  if (settler_) settler_->stop();
  fill_->stop();
  snapshotter_.stop();
  LogoutReport report;
  report.quiet_seconds = Activity::seconds_since(start);
  RS_CHECK_CTX("log-out", note_log_out(volume_, config_.agent_root, facts_.session, rules_));
  RS_TRY_CTX(auto last, "log-out", saver_->take(SnapshotKind::final, patience));
  if (!last.taken)
    return fail(ErrorCode::busy, "log-out: frozen layers cannot be merged, so no last snapshot can be taken");
  ++snapshots_taken_;
  report.snapshot_seconds = last.seconds;
  report.extract_seconds = last.extract_seconds;
  auto sending = Clock::now();
  RS_CHECK_CTX("log-out", saver_->drain(patience));
  RS_TRY(auto sent, saver_->status());
  report.send_seconds = Activity::seconds_since(sending);
  auto closing = Clock::now();
  report.records = sent.records;
  report.batches = sent.batches;
  report.content_bytes = sent.content_bytes;
  report.saving_bytes = sent.sent_bytes;
  report.final_records = last.records;
  report.version = sent.last_version != 0 ? sent.last_version : facts_.version;
  report.forked = sent.forked;
  if (auto layers = saver_->frozen_layers()) report.frozen_layers = *layers;  // merged by the next session
  // First here, then there: a crash between leaves a lease that runs out, never a session that cannot be
  // resumed.
  RS_CHECK(log_->close_session());
  stop_threads();
  auto sent_before = link_.bytes_sent();
  if (auto closed = link_.close(facts_.session_secret); !closed)
    log_warning("the coordinator was not told of the log-out: {}", closed.error().to_string());
  report.sent_bytes = link_.bytes_sent();
  report.saving_bytes += report.sent_bytes - sent_before;
  report.received_bytes = link_.bytes_received();
  report.close_seconds = Activity::seconds_since(closing);
  report.seconds = Activity::seconds_since(start);
  return report;
}

}  // namespace roamstead::agent
