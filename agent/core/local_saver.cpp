// Saving from layers that the agent reads itself.
#include "agent/core/snapshot_cycle.h"
#include "common/base/log.h"

namespace roamstead::agent {
namespace {

class LocalSaver final : public Saver {
 public:
  LocalSaver(const SaverParts& parts, SnapshotPort& snapshots)
      : link_(parts.link),
        secret_(parts.session_secret),
        snapshots_(snapshots),
        sender_(parts.link, parts.session_secret, parts.log, snapshots, parts.loader.activity(),
                parts.sender),
        cycle_(parts, snapshots, sender_) {
    snapshots.watch_loading(
        [&loader = parts.loader](std::uint64_t journal_bytes) { return loader.loaded_since(journal_bytes); });
  }
  ~LocalSaver() override {
    sender_.stop();
    snapshots_.watch_loading({});
  }

  void start() override { sender_.start(); }
  void stop() override { sender_.stop(); }
  Result<SnapshotResult> take(SnapshotKind kind, std::chrono::milliseconds patience) override {
    return cycle_.take(kind, patience);
  }
  Result<void> drain(std::chrono::milliseconds patience) override { return sender_.drain(patience); }
  Result<std::size_t> tidy() override { return cycle_.tidy(); }
  Result<std::size_t> frozen_layers() override { return snapshots_.frozen_layers(); }
  Result<SenderStatus> status() override { return sender_.status(); }
  bool left_something() override { return snapshots_.left_something(); }
  Result<void> renew() override { return link_.renew(secret_); }

 private:
  wire::CoordinatorLink& link_;
  const Guid secret_;
  SnapshotPort& snapshots_;
  Sender sender_;
  SnapshotCycle cycle_;
};

Result<void> send_all(const Guid& session_secret, SnapshotPort& snapshots, changelog::ChangeLog& log,
                      wire::CoordinatorLink& link) {
  for (;;) {
    RS_TRY(auto next, log.next());
    if (!next) return {};
    RS_TRY(auto content,
           snapshots.open_content({next->frozen_path, next->batch.snapshot}, next->batch, next->locators));
    RS_TRY(auto reply, link.commit(session_secret, next->batch, *content));
    if (reply.forked) log_warning("batch {} became fork version {}", reply.ordinal, reply.version);
    RS_CHECK(log.acknowledge(reply.ordinal));
  }
}

}  // namespace

std::unique_ptr<Saver> SnapshotPort::saver(const SaverParts& parts) {
  return std::make_unique<LocalSaver>(parts, *this);
}

Result<void> SnapshotPort::save_rest(const changelog::SessionFacts& facts, changelog::ChangeLog& log,
                                     wire::CoordinatorLink& link) {
  expect_last();
  RS_TRY(auto frozen, freeze());
  {
    RS_TRY_CTX(auto taken, "extracting from " + frozen.path, cut(frozen, facts.last_cut));
    changelog::QueuedBatch queued{taken->batch(), frozen.path, taken->locators()};
    queued.batch.snapshot = frozen.id;
    queued.batch.final = true;
    if (queued.batch.records.empty()) {
      RS_CHECK(log.note_cut(frozen.id));
    } else {
      RS_TRY(auto ordinal, log.append(queued));
      log_info("{} records were not sent: batch {}", queued.batch.records.size(), ordinal);
    }
  }
  RS_CHECK(send_all(facts.session_secret, *this, log, link));
  if (auto tidied = tidy(frozen.id); !tidied)
    log_warning("merging frozen layers: {}", tidied.error().to_string());
  return {};
}

}  // namespace roamstead::agent
