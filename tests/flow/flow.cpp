#include "tests/flow/flow.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "common/extract/extract.h"
#include "tests/flow/changes.h"
#include "tests/flow/comparison.h"
#include "tests/flow/flow_coordinator.h"
#include "tests/flow/flow_desktop.h"

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
      : options_(options), random_(options.seed), model_(generate_profile(options.files, random_)) {}

  Result<void> run() {
    RS_CHECK_CTX("preparation", prepare());
    RS_CHECK_CTX("first desktop", first_desktop());
    RS_CHECK_CTX("second desktop", second_desktop());
    RS_CHECK_CTX("a session that changes nothing", idle_session());
    RS_CHECK_CTX("a desktop that dies", dead_desktop());
    return check_repository();
  }

 private:
  std::string path(const std::string& name) const { return options_.directory + "/" + name; }

  Result<void> prepare() {
    auto& files = os::real_file_system();
    const auto bytes = model_.content_bytes();
    table_.line(fmt::format("profile of {} files, {:.1f} MB generated", model_.files(),
                            static_cast<double>(bytes) / 1e6));
    const auto disk_bytes = std::max<std::uint64_t>(256u << 20, bytes * 4) >> 20 << 20;
    RS_CHECK(make_golden_disk(path("golden.vhdx"), disk_bytes));
    for (auto* name : {"a.vhdx", "b.vhdx"})
      RS_CHECK(vdisk::create_child(files, path("golden.vhdx"), path(name)));
    table_.line("golden disk formatted, two clones");
    RS_TRY(coordinator_, FlowCoordinator::start(options_.directory));
    RS_TRY(const auto version, coordinator_->import(kProfile, model_));
    table_.line(fmt::format("profile imported as version {}", version.number));
    RS_TRY(const auto first, coordinator_->enroll("desk-a", kProfile));
    RS_TRY(const auto second, coordinator_->enroll("desk-b", kProfile));
    RS_TRY(a_, FlowDesktop::power_on(path("a.vhdx"), first));
    RS_TRY(b_, FlowDesktop::power_on(path("b.vhdx"), second));
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
    RS_CHECK(snapshot("work"));
    RS_CHECK(changes.reorganise());
    RS_CHECK(changes.tinker());
    table_.line("A: names swapped, folders moved, streams, deletes", a_.get());
    RS_CHECK(snapshot("reorganising"));
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
    return log_out_first();
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
    RS_TRY(const auto metadata, compare_metadata(a_->volume(), b_->volume(), kProfileRoot));
    RS_CHECK(expect_none("A and B", metadata));
    table_.line(fmt::format("B: {} files compared with A and the model", model_.files()));
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

  // The same, but the desktop ends without a word, and the host looks at its disk.
  Result<void> dead_desktop() {
    RS_CHECK(b_->log_in(kProfile));
    RS_CHECK(b_->fill(agent::FillLevel::all));
    table_.line("B: log-in again, everything loaded", b_.get());
    RS_CHECK(b_->die());
    b_.reset();
    extract::Request request;
    request.frozen_path = path("b.vhdx");
    request.provenance_path = std::string(kAgentRoot) + "/provenance.journal";
    request.quiesced = false;
    RS_TRY(const auto extraction, extract::extract(os::real_file_system(), request));
    const auto& batch = extraction->batch();
    table_.line(fmt::format("B: killed, extracted on the host: {} records", batch.records.size()));
    for (auto& held : batch.held_back) fmt::print("HELD BACK {}: {}\n", held.path, held.reason);
    if (batch.records.empty() && batch.held_back.empty()) return {};
    return fail(ErrorCode::internal,
                fmt::format("{} records, {} held back", batch.records.size(), batch.held_back.size()));
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
  Table table_;
  std::unique_ptr<FlowCoordinator> coordinator_;
  wire::TlsLinkOptions b_identity_;
  std::unique_ptr<FlowDesktop> a_, b_;
};

}  // namespace

Result<void> run_flow(const FlowOptions& options) { return Flow(options).run(); }

}  // namespace roamstead::flow
