#include "tests/flow/flow.h"

#include <thread>

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "common/extract/extract.h"
#include "tests/flow/changes.h"
#include "tests/flow/comparison.h"
#include "tests/flow/flow_coordinator.h"
#include "tests/flow/flow_desktop.h"
#include "tests/flow/flow_registry.h"

namespace roamstead::flow {
namespace {

constexpr const char* kProfile = "S-1-5-21-1-2-3-1001";
using Clock = std::chrono::steady_clock;

// One line for each step, with what it took and what went over the network since the line before.
class Table {
 public:
  Table() { fmt::print("{:<52} {:>9} {:>12} {:>12}\n", "step", "ms", "sent", "received"); }
  void line(const std::string& step, FlowDesktop* desktop = nullptr) {
    const auto now = Clock::now();
    const auto milliseconds = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    if (desktop == nullptr) {
      fmt::print("{:<52} {:>9.1f}\n", step, milliseconds);
    } else {
      if (desktop != desktop_) sent_ = received_ = 0;
      desktop_ = desktop;
      fmt::print("{:<52} {:>9.1f} {:>12} {:>12}\n", step, milliseconds, desktop->link().bytes_sent() - sent_,
                 desktop->link().bytes_received() - received_);
      sent_ = desktop->link().bytes_sent();
      received_ = desktop->link().bytes_received();
    }
    std::fflush(stdout);
  }

 private:
  Clock::time_point last_ = Clock::now();
  FlowDesktop* desktop_ = nullptr;
  std::uint64_t sent_ = 0, received_ = 0;
};

Result<void> expect_none(const std::string& what, const std::vector<std::string>& differences) {
  if (differences.empty()) return {};
  for (auto& difference : differences) fmt::print("DIFFERENT {}: {}\n", what, difference);
  return fail(ErrorCode::conflict, fmt::format("{}: {} differences", what, differences.size()));
}

class Flow {
 public:
  explicit Flow(const FlowOptions& options)
      : options_(options),
        random_(options.seed),
        model_(generate_profile(options.files, random_)),
        registry_(random_) {
    for (const auto& hive : profile::hive_paths())
      if (!hive.parent().is_root() && !model_.has(hive.parent().text()))
        model_.add_directory(hive.parent().text(), model_.at("AppData").metadata);
  }

  Result<void> run() {
    RS_CHECK_CTX("preparation", prepare());
    RS_CHECK_CTX("first desktop", first_desktop());
    RS_CHECK_CTX("second desktop", second_desktop());
    RS_CHECK_CTX("a session that changes nothing", idle_session());
    RS_CHECK_CTX("a second log-in while the first goes on", take_over());
    RS_CHECK_CTX("a desktop that dies", dead_desktop());
    return check_repository();
  }

 private:
  std::string path(const std::string& name) const { return options_.directory + "/" + name; }
  std::string disk(const std::string& name) const {
    return path(name + "." + std::string(vdisk::to_string(options_.format)));
  }

  Result<void> prepare() {
    auto& files = os::real_file_system();
    const auto bytes = model_.content_bytes();
    table_.line(fmt::format("profile of {} files, {:.1f} MB generated", model_.files(),
                            static_cast<double>(bytes) / 1e6));
    const auto disk_bytes = std::max<std::uint64_t>(256u << 20, bytes * 4) >> 20 << 20;
    RS_CHECK(make_golden_disk(disk("golden"), disk_bytes, options_.format));
    for (auto* name : {"a", "b"}) RS_CHECK(vdisk::create_child(files, disk("golden"), disk(name)));
    table_.line("golden disk formatted, two clones");
    RS_TRY(coordinator_, FlowCoordinator::start(options_.directory));
    RS_TRY(const auto version, coordinator_->import(kProfile, model_));
    table_.line(fmt::format("profile imported as version {}", version.number));
    RS_TRY(const auto with_keys, registry_.import(coordinator_->repository(), kProfile));
    table_.line(
        fmt::format("registry of {} keys imported as version {}", registry_.keys(), with_keys.number));
    RS_TRY(const auto first, coordinator_->enroll("desk-a", kProfile));
    RS_TRY(const auto second, coordinator_->enroll("desk-b", kProfile));
    RS_TRY(a_, FlowDesktop::power_on(disk("a"), first));
    RS_TRY(b_, FlowDesktop::power_on(disk("b"), second));
    b_identity_ = second;
    table_.line("desktops enrolled and powered on");
    return {};
  }

  Result<void> snapshot(const std::string& what) {
    RS_TRY(const auto taken, a_->snapshot());
    table_.line(fmt::format("  snapshot after {}: {} records, committed", what, taken.records), a_.get());
    if (taken.records == 0) return fail(ErrorCode::internal, "the snapshot after " + what + " holds nothing");
    if (taken.held_back != 0)
      return fail(ErrorCode::internal, fmt::format("{} files were held back", taken.held_back));
    return {};
  }

  Result<void> first_desktop() {
    RS_CHECK(a_->log_in(kProfile));
    RS_CHECK(a_->files().list(""));
    table_.line("A: log-in, top level listed", a_.get());
    Changes changes(a_->files(), model_, random_);
    RS_TRY(const auto count, changes.read_some(options_.files / 5));
    table_.line(fmt::format("A: {} files read", count), a_.get());
    RS_CHECK(changes.work());
    table_.line("A: files changed in place, appended to, made", a_.get());
    RS_CHECK(registry_.edit(*a_, random_, 1));
    table_.line(registry_line("A: keys loaded and changed"), a_.get());
    RS_CHECK(snapshot("work"));
    RS_CHECK(changes.reorganise());
    RS_CHECK(changes.tinker());
    table_.line("A: names swapped, folders moved, streams, deletes", a_.get());
    RS_CHECK(registry_.edit(*a_, random_, 2));
    RS_CHECK(snapshot("reorganising"));
    RS_CHECK(registry_.edit(*a_, random_, 3));
    RS_CHECK(changes.work());
    RS_CHECK(changes.reorganise());
    RS_CHECK(changes.tinker());
    RS_CHECK(a_->fill(agent::FillLevel::metadata));
    table_.line("A: more of the same, all names loaded", a_.get());
    const auto is_loaded = [&](const ntfs3g::FileReference& file) {
      return a_->session().loader().is_loaded(file.record);
    };
    RS_TRY(const auto differences, compare_with_model(a_->volume(), kProfileRoot, model_, is_loaded));
    RS_CHECK(expect_none("A and what the profile ought to hold", differences));
    for (const auto& hive : profile::hive_paths())
      if (a_->session().registry().is_loaded(hive, profile::KeyPath::parse(kUntouchedKey).value()))
        return fail(ErrorCode::internal,
                    fmt::format("{} of {} was loaded and nobody touched it", kUntouchedKey, hive.text()));
    table_.line(registry_line("A: in the end"));
    return log_out_first();
  }

  std::string registry_line(const std::string& what) {
    const auto progress = a_->session().registry().progress();
    return fmt::format("{}: {} of {} keys loaded", what, progress.keys_loaded, registry_.keys());
  }

  Result<void> log_out_first() {
    RS_TRY(const auto report, a_->log_out());
    table_.line(fmt::format("A: log-out: {} records, version {}", report.records, report.version), a_.get());
    if (report.forked) return fail(ErrorCode::internal, "the session was forked");
    if (report.frozen_layers > 2)
      return fail(ErrorCode::internal, fmt::format("{} frozen layers are left", report.frozen_layers));
    return {};
  }

  Result<void> second_desktop() {
    RS_CHECK(b_->log_in(kProfile));
    RS_CHECK(b_->files().list(""));
    table_.line("B: log-in, top level listed", b_.get());
    RS_CHECK(b_->fill(agent::FillLevel::all));
    table_.line("B: everything loaded", b_.get());
    RS_TRY(const auto content,
           compare_with_model(b_->volume(), kProfileRoot, model_, [](auto&) { return true; }));
    RS_CHECK(expect_none("B and what the profile ought to hold", content));
    RS_TRY(const auto keys, registry_.compare(*b_));
    RS_CHECK(expect_none("B's registry and what it ought to hold", keys));
    RS_TRY(const auto metadata, compare_metadata(a_->volume(), b_->volume(), kProfileRoot));
    RS_CHECK(expect_none("A and B", metadata));
    table_.line(fmt::format("B: {} files and {} keys compared", model_.files(), registry_.keys()));
    return {};
  }

  // Everything was loaded on B and nothing changed.
  Result<void> idle_session() {
    RS_TRY(const auto report, b_->log_out());
    table_.line(fmt::format("B: log-out: {} records", report.records), b_.get());
    if (report.records != 0 || report.content_bytes != 0)
      return fail(ErrorCode::internal,
                  fmt::format("{} records, {} bytes of content", report.records, report.content_bytes));
    return {};
  }

  // B logs in while A has something that it has not sent: A hands it over.
  Result<void> take_over() {
    const std::string name = "handed-over.txt", content = "written on A";
    RS_CHECK(a_->log_in(kProfile));
    RS_CHECK(a_->files().make_file(name));
    RS_CHECK(a_->files().write(name, "", 0, as_bytes(content)));
    RS_CHECK(b_->log_in(kProfile));
    table_.line("B: log-in while A is logged in", b_.get());
    RS_TRY(const auto there, b_->files().read_all(name, ""));
    if (as_text(there) != content) return fail(ErrorCode::internal, "B does not have what A had not sent");
    // B may have its answer before A has its own.
    auto phase = agent::SessionPhase::open;
    for (int i = 0; i < 500 && phase != agent::SessionPhase::handed_over; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      RS_TRY(const auto status, a_->session().status());
      phase = status.phase;
    }
    if (phase != agent::SessionPhase::handed_over)
      return fail(ErrorCode::internal, "A is " + std::string(to_string(phase)));
    if (a_->files().write(name, "", 0, as_bytes("late")))
      return fail(ErrorCode::internal, "A may still write");
    RS_TRY(const auto first, a_->log_out());
    if (first.forked || first.final_records != 0)
      return fail(ErrorCode::internal, "A sent something after it had handed over");
    RS_CHECK(b_->files().remove(name));
    RS_TRY(const auto second, b_->log_out());
    if (second.forked) return fail(ErrorCode::internal, "B's session was forked");
    return {};
  }

  Result<profile::Batch> extract_on_host() {
    extract::Request request;
    request.frozen_path = disk("b");
    request.provenance_path = std::string(kAgentRoot) + "/provenance.journal";
    request.quiesced = false;
    RS_TRY(const auto extraction, extract::extract(os::real_file_system(), request));
    const auto& batch = extraction->batch();
    table_.line(fmt::format("B: killed, extracted on the host: {} records", batch.records.size()));
    for (auto& held : batch.held_back) fmt::print("HELD BACK {}: {}\n", held.path, held.reason);
    if (!batch.held_back.empty())
      return fail(ErrorCode::internal, fmt::format("{} held back", batch.held_back.size()));
    return batch;
  }

  // The same, but the desktop ends without a word, and the host looks at its disk.
  Result<void> dead_desktop() {
    RS_CHECK(b_->log_in(kProfile));
    RS_CHECK(b_->fill(agent::FillLevel::all));
    table_.line("B: log-in again, everything loaded", b_.get());
    RS_CHECK(b_->die());
    b_.reset();
    RS_TRY(const auto unchanged, extract_on_host());
    if (!unchanged.records.empty())
      return fail(ErrorCode::internal, fmt::format("{} records", unchanged.records.size()));
    // It comes back to the same session, keys are changed, and it dies again.
    RS_TRY(b_, FlowDesktop::power_on(disk("b"), b_identity_));
    RS_CHECK(b_->log_in(kProfile));
    RS_CHECK(registry_.edit(*b_, random_, 4));
    RS_CHECK(b_->die());
    b_.reset();
    RS_TRY(const auto changed, extract_on_host());
    std::size_t keys = 0;
    for (const auto& record : changed.records)
      keys += std::holds_alternative<profile::PutKey>(record) ||
              std::holds_alternative<profile::DeleteKey>(record);
    if (keys != changed.records.size() || keys == 0)
      return fail(ErrorCode::internal, fmt::format("{} records of keys", keys));
    return {};
  }

  Result<void> check_repository() {
    RS_TRY(const auto info, coordinator_->repository().find_profile(kProfile));
    RS_TRY(const auto versions, coordinator_->repository().versions(info.id));
    RS_TRY(const auto report, coordinator_->finish());
    table_.line(fmt::format("repository checked: {} versions, {} objects", report.versions_checked,
                            report.objects_checked));
    for (auto& problem : report.problems) fmt::print("REPOSITORY: {}\n", problem);
    for (auto& version : versions)
      if (!version.held_back.empty()) return fail(ErrorCode::internal, "files were held back");
    if (!report.problems.empty()) return fail(ErrorCode::corrupt, "the repository is damaged");
    return {};
  }

  const FlowOptions options_;
  Random random_;
  ProfileModel model_;
  FlowRegistry registry_;
  Table table_;
  std::unique_ptr<FlowCoordinator> coordinator_;
  wire::TlsLinkOptions b_identity_;
  std::unique_ptr<FlowDesktop> a_, b_;
};

}  // namespace

Result<void> run_flow(const FlowOptions& options) { return Flow(options).run(); }

}  // namespace roamstead::flow
