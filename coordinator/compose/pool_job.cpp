#include "coordinator/compose/pool_job.h"

#include <fmt/format.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "common/base/event.h"
#include "common/base/file_time.h"
#include "common/vdisk/convert.h"
#include "coordinator/compose/clone_layers.h"
#include "coordinator/compose/first_boot.h"

namespace roamstead::compose {
namespace {

Result<void> remove_if_there(os::FileSystem& files, const std::string& path) {
  RS_TRY(const bool there, files.exists(path));
  return there ? files.remove(path) : Result<void>();
}

// With what a kill leaves beside it: a disk being made has ".new" behind its name until it is complete.
Result<void> remove_disk(os::FileSystem& files, const std::string& path) {
  for (const auto& each : {path, making_path_of(path)}) {
    RS_CHECK(remove_if_there(files, each));
    RS_CHECK(remove_if_there(files, each + ".new"));
  }
  return {};
}

Result<void> sync_if_there(os::FileSystem& files, const std::string& directory) {
  RS_TRY(const auto there, files.exists(directory));
  return there ? files.sync_directory(directory) : Result<void>();
}

// Layers of this clone alone, above its reference snapshot, but for the one that it was made with. None where
// the chain cannot be followed.
std::vector<std::string> layers_between(os::FileSystem& files, const ClonePaths& paths) {
  if (paths.reference.empty()) return {};
  const auto layers = layers_of_clone(files, paths.active);
  std::vector<std::string> between;
  if (!layers) return between;
  for (const auto& layer : *layers)
    if (layer.path != paths.active) between.push_back(layer.path);
  return between;
}

// What a plan shows in place of what is made for each desktop.
CloneFacts example_facts(const PoolSpec& spec) {
  CloneFacts facts;
  facts.name = spec.clone_name(0);
  facts.desktop_json = "{}\n";
  facts.identity_pem = "\n";
  return facts;
}

// Where an image was written to since it was imported, what was seen of it then no longer holds.
Result<void> check_unchanged(os::FileSystem& files, const ImageRow& row) {
  RS_TRY(const auto info, vdisk::inspect(files, row.disk));
  const auto modified = files.modified_seconds(row.disk);
  if (info.id == row.disk_id && (!modified || *modified == row.modified_s)) return {};
  return fail(ErrorCode::stale,
              row.disk + ": changed since it was imported as image '" + row.name +
                  "'; import it again, under another name where desktops depend on the old one");
}

}  // namespace

struct PoolJob::Ready {
  WindowsImage image;
  ImageHives hives;
  PoolJoin joining;
  std::optional<JoinContext> join;
  Bytes first_boot_program;

  UnitContext context(const PoolSpec& spec, const std::string& ca_pem) const {
    return {spec, image, hives, ca_pem, join ? &*join : nullptr, &first_boot_program};
  }
  // Enough to see which values differ from desktop to desktop.
  CloneFacts example(const PoolSpec& spec) const { return joining.example(example_facts(spec)); }
};

ClonePaths paths_of(const PoolSpec& spec, const std::string& clone) {
  const auto ending = "." + std::string(vdisk::to_string(spec.format));
  const auto base = os::join_path(spec.directory, clone);
  return {base + ending, spec.kind == CloneKind::linked ? base + ".reference" + ending : ""};
}

std::string template_path_of(const PoolSpec& spec) {
  return os::join_path(spec.directory, spec.name + ".template." + std::string(vdisk::to_string(spec.format)));
}

Result<PoolJob::Ready> PoolJob::prepare(const PoolSpec& spec) const {
  RS_TRY(const auto row, store_.image(spec.image));
  RS_CHECK(check_unchanged(files_, row));
  RS_TRY(auto image, inspect_image(files_, row.disk));
  if (image.format != spec.format &&
      !(image.format == vdisk::Format::raw && spec.format == vdisk::Format::qcow2))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("pool.format is {}, and image '{}' is {}, of which such clones cannot be made: set "
                    "pool.format, or convert the image ('roamstead disk convert') and import that",
                    vdisk::to_string(spec.format), spec.image, vdisk::to_string(image.format)));
  if (image.build >= kFirstBuildWithSidCheck && !image.generalised && !spec.allow_duplicate_sid)
    return fail(ErrorCode::unsupported,
                fmt::format("{} Set allow_duplicate_sid = true in [pool] to go on all the same",
                            image.warnings.front() + "."));
  RS_TRY(const auto disk, WindowsDisk::open(files_, row.disk));
  RS_TRY(auto hives, ImageHives::load(disk->volume()));
  // The blobs of desktops that are made may be gone.
  std::set<std::string> made;
  RS_TRY(const auto rows, store_.clones(spec.name));
  for (const auto& clone : rows)
    if (clone.state == CloneState::made) made.insert(clone.name);
  std::vector<std::string> names;
  for (std::uint64_t index = 0; index < spec.count; ++index)
    if (!made.contains(spec.clone_name(index))) names.push_back(spec.clone_name(index));
  RS_TRY(auto joining, PoolJoin::open(files_, spec, names));
  RS_TRY(auto join, joining.context(spec, hives));
  RS_TRY_CTX(auto program, "first boot", load_first_boot_program(files_, spec, image));
  return Ready{std::move(image), std::move(hives), std::move(joining), std::move(join), std::move(program)};
}

Result<PoolPlan> PoolJob::plan(const PoolSpec& spec) const {
  RS_TRY(auto ready, prepare(spec));
  const auto context = ready.context(spec, identity_.ca_pem);
  PoolPlan plan;
  plan.boots = spec.boots(ready.image.generalised);
  const PoolVms vms(files_, spec);
  RS_CHECK_CTX("vm", vms.check(store_));
  RS_TRY(plan.definition, vms.example());
  RS_TRY(plan.common, common_edits(context));
  RS_TRY(plan.own, own_edits(context, ready.example(spec)));
  for (std::uint64_t index = 0; index < spec.count; ++index) plan.clones.push_back(spec.clone_name(index));
  plan.warnings = ready.image.warnings;
  for (auto& warning : join_warnings(spec, ready.image)) plan.warnings.push_back(std::move(warning));
  plan.image = std::move(ready.image);
  return plan;
}

Result<TemplateLayer> PoolJob::layer_of(const PoolSpec& spec, const Ready& ready, const PoolRow& row) {
  const auto path = template_path_of(spec);
  if (!row.layer.empty()) return TemplateLayer::parse(row.layer, "pool " + spec.name);
  // One that was made, but not remembered, before a crash.
  RS_CHECK(remove_if_there(files_, path));
  const auto context = ready.context(spec, identity_.ca_pem);
  RS_TRY(const auto common, common_edits(context));
  RS_TRY(const auto own, own_edits(context, ready.example(spec)));
  RS_TRY_CTX(auto layer, "the pool's template",
             make_template(files_, ready.image, ready.hives, path, common, own));
  RS_CHECK(store_.set_layer(spec.name, layer.to_json()));
  return layer;
}

Result<CloneFacts> PoolJob::facts_of(const PoolSpec& spec, std::uint64_t index, std::string& serial) const {
  CloneFacts facts;
  facts.name = spec.clone_name(index);
  facts.index = index;
  facts.machine_guid = Guid::random();
  RS_TRY(const auto issued, identity_.issue(facts.name));
  serial = issued.serial;
  facts.desktop_json =
      nlohmann::json{{"desktop", facts.name}, {"coordinator", identity_.coordinator}}.dump(2) + "\n";
  facts.identity_pem = issued.key_pem + issued.certificate_pem;
  return facts;
}

Result<void> PoolJob::take_away(const PoolSpec& spec, const CloneRow& clone) {
  RS_CHECK_CTX("virtual machine", PoolVms(files_, spec).remove(clone.name, clone.index));
  const auto paths = paths_of(spec, clone.name);
  for (const auto& layer : layers_between(files_, paths)) RS_CHECK(remove_if_there(files_, layer));
  RS_CHECK(remove_disk(files_, paths.active));
  if (!paths.reference.empty()) RS_CHECK(remove_disk(files_, paths.reference));
  return identity_.revoke(clone.name);
}

Result<void> PoolJob::make_clone(const PoolSpec& spec, const Ready& ready, const TemplateLayer& layer,
                                 const CloneRow& row, const PoolJoin::Account& account,
                                 const DataDisks& data_disks) {
  RS_TRY_CTX(auto data_disk, "user disk", data_disks.provide(row.name));
  std::string serial;
  RS_TRY_CTX(auto facts, "identity", facts_of(spec, row.index, serial));
  RS_CHECK_CTX("join", ready.joining.complete(facts, account));
  facts.user_disk = data_disk.ids().value_or(volume::TableIds());
  const auto context = ready.context(spec, identity_.ca_pem);
  RS_TRY(const auto own, own_edits(context, facts));
  const auto paths = paths_of(spec, row.name);
  if (spec.kind == CloneKind::linked) {
    RS_CHECK_CTX("disk", make_clone_disk(files_, layer, paths.reference, own));
    RS_CHECK_CTX("disk", vdisk::create_child(files_, paths.reference, paths.active));
  } else {
    vdisk::ConvertOptions options;
    options.format = spec.format;
    RS_CHECK_CTX("disk", vdisk::convert_disk(files_, layer.path, paths.active, options).map([](auto) {}));
    RS_CHECK_CTX("disk", patch_clone_disk(files_, layer, paths.active, own));
  }
  prewarm(spec, row, paths.active);
  RS_CHECK_CTX("virtual machine", PoolVms(files_, spec).define(row.name, row.index));
  RS_CHECK_CTX("enrolment", identity_.enrol(row.name, serial));
  auto made = row;
  made.state = CloneState::made;
  made.error.clear();
  made.made_100ns = now_100ns();
  RS_CHECK(store_.set_clone(made));
  data_disk.keep();
  return {};
}

Result<PoolResult> PoolJob::create(const RunningJob&, const PoolSpec& spec, const std::string& specification,
                                   unsigned threads, const Progress& progress) {
  RS_TRY(auto ready, prepare(spec));
  auto known = store_.pool(spec.name);
  if (!known && known.error().code != ErrorCode::not_found) return fail(known.error());
  if (known && known->specification != specification)
    return fail(ErrorCode::conflict,
                "pool '" + spec.name +
                    "' was made from another specification; delete it first ('roamstead pool "
                    "delete'), or give this one another name");
  RS_CHECK_CTX("vm", PoolVms(files_, spec).check(store_));
  if (!known) {
    std::vector<std::string> names;
    for (std::uint64_t index = 0; index < spec.count; ++index) {
      names.push_back(spec.clone_name(index));
      RS_TRY(const bool enrolled, identity_.is_enrolled(names.back()));
      if (enrolled)
        return fail(ErrorCode::exists,
                    "desktop '" + names.back() +
                        "' is enrolled already; revoke it ('roamstead desktop revoke'), or choose "
                        "other names");
    }
    RS_CHECK(DataDisks::refuse_existing(files_, spec, names));
    RS_CHECK(files_.make_directories(spec.directory));
    PoolRow row{spec.name, spec.image, specification, spec.directory, "", now_100ns()};
    RS_CHECK(store_.add_pool(row, names));
    known = row;
  }
  RS_TRY(const auto layer, layer_of(spec, ready, *known));
  RS_TRY(const auto data_disks, DataDisks::open(files_, spec));
  RS_TRY(auto rows, store_.clones(spec.name));
  RS_TRY(const auto accounts, ready.joining.accounts(spec, store_, rows));
  for (std::size_t at = 0; at < rows.size(); ++at)
    if (rows[at].state != CloneState::made) rows[at].account = accounts[at].account;

  PoolResult result;
  std::mutex mutex;  // guards result, the progress and `broken`
  std::optional<Error> broken;
  std::atomic<std::size_t> next{0};
  std::uint64_t done = 0;
  const auto work = [&] {
    for (;;) {
      const auto at = next++;
      if (at >= rows.size()) return;
      const auto& row = rows[at];
      Result<void> made;
      if (row.state != CloneState::made) {
        const auto& account = accounts[at];
        if (account.error) made = fail(*account.error);
        if (made) made = take_away(spec, row);
        if (made) made = make_clone(spec, ready, layer, row, account, data_disks);
        if (!made) {
          auto failed = row;
          failed.state = CloneState::failed;
          failed.error = made.error().to_string();
          if (auto gone = take_away(spec, row); !gone)
            failed.error += "; and what was made of it is left: " + gone.error().to_string();
          if (auto noted = store_.set_clone(failed); !noted) made = noted;
          std::lock_guard guard(mutex);
          result.failed.push_back(failed);
          // What the next ones would meet too.
          if (!broken && (made.error().code == ErrorCode::full || made.error().code == ErrorCode::denied)) {
            broken = made.error();
            next = rows.size();
          }
        }
      }
      std::lock_guard guard(mutex);
      if (row.state == CloneState::made) ++result.present;
      if (row.state != CloneState::made && made) ++result.made;
      if (progress) progress("desktops", ++done, rows.size());
    }
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < threads && i < rows.size(); ++i) workers.emplace_back(work);
  work();
  for (auto& worker : workers) worker.join();
  // What was made for desktops that are not is no good to anybody.
  if (ready.joining.has_directory())
    for (auto& row : result.failed) {
      if (auto gone = ready.joining.take_away(row); !gone)
        row.error += "; its account " + row.account + " is left: " + gone.error().to_string();
      else
        row.account.clear();
      RS_CHECK(store_.set_clone(row));
    }
  if (broken)
    return fail(Error(*broken).with(
        fmt::format("{} of {} desktops are made; when the cause is gone, the same command "
                    "makes the rest",
                    result.made + result.present, rows.size())));
  RS_CHECK(start_vms(spec, result, progress));
  return result;
}

void PoolJob::prewarm(const PoolSpec& spec, const CloneRow& clone, const std::string& disk) const {
  if (!prewarm_) return;
  const auto edits = prewarm_(spec, clone.index);
  const auto placed = edits ? place_files(files_, disk, *edits) : fail(edits.error());
  if (!placed)
    log_event(Event::not_prewarmed, "desktop '{}': not prewarmed: {}", clone.name,
              placed.error().to_string());
}

// A machine that does not start is not undone: its desktop is made, and the same command tries it again.
Result<void> PoolJob::start_vms(const PoolSpec& spec, PoolResult& result, const Progress& progress) {
  if (!spec.vm || !spec.vm->power_on) return {};
  RS_TRY(const auto rows, store_.clones(spec.name));
  RS_TRY(const auto boots, store_.boots());
  const auto is_new = [&](const CloneRow& row) {
    const auto boot = boots.find(row.name);
    return boot == boots.end() || boot->second.state == BootState::made;
  };
  std::vector<PoolVms::Start> starts;
  for (const auto& row : rows)
    if (row.state == CloneState::made && is_new(row)) starts.push_back({row, {}});
  std::uint64_t done = 0;
  PoolVms(files_, spec).power_on(starts, [&] {
    if (progress) progress("machines started", ++done, starts.size());
  });
  for (auto& start : starts) {
    if (start.result)
      start.result =
          store_.set_boot(start.clone.name, {BootState::started, "", now_100ns()}).map([](bool) {});
    if (start.result) {
      ++result.started;
      continue;
    }
    start.clone.error = "is made, but not started: " + start.result.error().to_string();
    result.not_started.push_back(start.clone);
  }
  return {};
}

Result<void> PoolJob::remove_clone(const RunningJob&, const PoolSpec& spec, const CloneRow& clone,
                                   bool delete_data) {
  if (!clone.account.empty()) {
    RS_TRY(auto joined, PoolJoin::connect(files_, spec));
    RS_CHECK(joined.take_away(clone));
  }
  RS_CHECK(take_away(spec, clone));
  RS_CHECK(sync_if_there(files_, spec.directory));
  if (delete_data) RS_CHECK_CTX("user disk", remove_data_disk(files_, spec, clone.name));
  return store_.remove_clone(clone.name);
}

Result<void> PoolJob::remove(const RunningJob&, const PoolSpec& spec, const Progress& progress,
                             bool delete_data) {
  RS_TRY(const auto rows, store_.clones(spec.name));
  std::uint64_t done = 0;
  const bool has_accounts =
      std::any_of(rows.begin(), rows.end(), [](const CloneRow& row) { return !row.account.empty(); });
  std::optional<PoolJoin> joined;
  if (has_accounts) {
    RS_TRY(joined, PoolJoin::connect(files_, spec));
  }
  for (const auto& row : rows) {
    if (joined) RS_CHECK_CTX(row.name, joined->take_away(row));
    RS_CHECK_CTX(row.name, take_away(spec, row));
    if (delete_data) RS_CHECK_CTX(row.name, remove_data_disk(files_, spec, row.name));
    if (progress) progress("desktops", ++done, rows.size());
  }
  RS_CHECK(remove_disk(files_, template_path_of(spec)));
  // Nothing is forgotten before it is gone for good.
  RS_CHECK(sync_if_there(files_, spec.directory));
  return store_.remove_pool(spec.name);
}

Result<void> PoolJob::refresh_clone(const RunningJob&, const PoolSpec& spec, const CloneRow& clone) {
  if (clone.state != CloneState::made)
    return fail(ErrorCode::not_found,
                "clone '" + clone.name + "' has not been made; 'roamstead pool create' does");
  const auto paths = paths_of(spec, clone.name);
  if (paths.reference.empty())
    return fail(ErrorCode::unsupported,
                "clone '" + clone.name + "' is a full copy, and has no reference snapshot");
  if (spec.join && spec.machine_password_change)
    return fail(
        ErrorCode::unsupported,
        "clone '" + clone.name +
            "': its desktop changes its machine password by itself (system.machine_password_change), so "
            "that the reference snapshot's no longer counts in the domain; delete it, and 'roamstead "
            "pool create' makes it again");
  RS_TRY(const auto row, store_.pool(spec.name));
  RS_TRY(const auto layer, TemplateLayer::parse(row.layer, "pool " + spec.name));
  std::string serial;
  RS_TRY(const auto facts, facts_of(spec, clone.index, serial));
  const auto own = identity_edits(facts);
  // Beside the old one, which counts until the new one has taken its place.
  const auto making = making_path_of(paths.active);
  RS_CHECK(remove_if_there(files_, making));
  RS_CHECK(make_refreshed_disk(files_, layer, paths.reference, making, own));
  prewarm(spec, clone, making);
  RS_CHECK(identity_.revoke(clone.name));
  RS_CHECK(store_.set_boot(clone.name, {BootState::made, "", now_100ns()}).map([](bool) {}));
  const auto frozen = layers_between(files_, paths);
  RS_CHECK(files_.rename(making, paths.active));
  RS_CHECK(files_.sync_directory(spec.directory));
  for (const auto& gone : frozen) RS_CHECK(remove_if_there(files_, gone));
  return identity_.enrol(clone.name, serial);
}

}  // namespace roamstead::compose
