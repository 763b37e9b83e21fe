// Golden images, pools of desktops made from them, and their clones.
#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "common/base/file_time.h"
#include "common/base/log.h"
#include "common/registry/value_text.h"
#include "coordinator/compose/clone_diff.h"
#include "coordinator/compose/pool_job.h"
#include "coordinator/crosscheck/cross_check.h"
#include "coordinator/server/clone_fence.h"
#include "coordinator/server/command_table.h"

namespace roamstead::server {
namespace {

using nlohmann::json;
using namespace compose;

Result<PoolStore*> pool_store(const Invocation& call) {
  if (call.context.pools == nullptr) return fail(ErrorCode::unavailable, "this coordinator keeps no pools");
  return call.context.pools;
}

IdentityPort identity_port(const CommandContext& context, const std::string& session_pool) {
  IdentityPort port;
  port.coordinator = context.address;
  port.ca_pem = context.authority.certificate_pem();
  port.issue = [&context](const std::string& desktop) -> Result<IdentityPort::Identity> {
    RS_TRY(auto issued, context.authority.issue_desktop(desktop));
    return IdentityPort::Identity{issued.key_pem, issued.certificate_pem, issued.serial};
  };
  port.enrol = [&context, session_pool](const std::string& desktop, const std::string& serial) {
    return context.store.add_desktop(
        {desktop, serial, now_100ns(), 0, session_pool.empty() ? kDefaultPool : session_pool});
  };
  port.revoke = [&context](const std::string& desktop) -> Result<void> {
    auto revoked = context.store.revoke_desktop(desktop, now_100ns());
    if (!revoked && revoked.error().code == ErrorCode::not_found) return {};
    if (revoked && context.disconnect) context.disconnect(desktop);
    return revoked;
  };
  port.is_enrolled = [&context](const std::string& desktop) { return context.store.is_enrolled(desktop); };
  return port;
}

// Makes the specification's assignments, and gets what the desktop's users would fetch first.
Result<PoolJob::PrewarmPort> prewarm_port(const CommandContext& context) {
  using Users = std::map<std::string, std::set<std::string>>;  // profiles, by desktop
  auto users = std::make_shared<Users>();                      // shared with the port, which is copied
  RS_TRY(const auto assignments, context.store.assignments());
  for (const auto& assignment : assignments)
    if (assignment.until_100ns == 0 || assignment.until_100ns > now_100ns())
      (*users)[assignment.desktop].insert(assignment.profile_name);
  return [&context, users](const PoolSpec& spec, std::uint64_t index) -> Result<std::vector<FileEdit>> {
    const auto desktop = spec.clone_name(index);
    std::set<std::string> profiles;
    if (const auto known = users->find(desktop); known != users->end()) profiles = known->second;
    for (const auto& name : profiles_of(spec, index)) {
      RS_TRY(const auto profile, context.repository.find_profile(name));
      RS_CHECK(context.store.assign({desktop, profile.id, profile.name, 0}));
      profiles.insert(profile.name);
    }
    std::vector<FileEdit> edits;
    auto left = spec.assign.prewarm_bytes;
    for (const auto& name : profiles) {
      if (left == 0) break;
      RS_TRY(const auto prewarm, context.sessions.prewarm(name, left));
      auto content = profile::encode_prewarm(prewarm);
      left -= std::min<std::uint64_t>(left, content.size());
      edits.push_back({std::string("ProgramData/Roamstead/") + profile::kPrewarmFolder + "/" +
                           profile::prewarm_file_name(prewarm.profile),
                       std::move(content), true, "prewarm"});
    }
    return edits;
  };
}

// A profile that is not there is better known before anything is made.
Result<void> check_profiles(const CommandContext& context, const PoolSpec& spec) {
  for (std::uint64_t index = 0; index < spec.count && !spec.assign.rules.empty(); ++index)
    for (const auto& name : profiles_of(spec, index))
      RS_CHECK_CTX("assign: desktop '" + spec.clone_name(index) + "'",
                   context.repository.find_profile(name).map([](const auto&) {}));
  return {};
}

json to_json(const WindowsImage& image) {
  auto adapters = json::array();
  for (const auto& adapter : image.adapters)
    adapters.push_back({{"id", adapter.id}, {"name", adapter.name}, {"instance", adapter.instance}});
  return {{"disk", image.disk},
          {"format", vdisk::to_string(image.format)},
          {"virtual_bytes", image.virtual_bytes},
          {"partition", image.place.partition},
          {"product", image.product},
          {"version", image.version},
          {"build", image.build},
          {"architecture", image.architecture},
          {"control_set", image.control_set},
          {"computer_name", image.computer_name},
          {"generalised", image.generalised},
          {"agent", image.agent},
          {"adapters", adapters},
          {"warnings", image.warnings}};
}

Result<json> to_json(const ImageRow& row) {
  auto facts = json::parse(row.facts, nullptr, false);
  if (!facts.is_object())
    return fail(ErrorCode::corrupt, "image '" + row.name + "': what was noted of it is damaged");
  facts["image"] = row.name;
  facts["imported_100ns"] = row.imported_100ns;
  return facts;
}

json boot_json(const CloneRow& row, const CloneBoot& boot) {
  json shown{{"boot", compose::to_string(boot.state)}};
  if (!boot.detail.empty()) shown["boot_detail"] = boot.detail;
  if (boot.since_100ns != 0) shown["boot_since_100ns"] = boot.since_100ns;
  shown["ready"] = row.state == CloneState::made && boot.state == BootState::ready;
  return shown;
}

json to_json(const CloneRow& row) {
  json clone{{"clone", row.name}, {"pool", row.pool}, {"number", row.index}, {"state", to_string(row.state)}};
  if (!row.error.empty()) clone["error"] = row.error;
  if (row.made_100ns != 0) clone["made_100ns"] = row.made_100ns;
  return clone;
}

constexpr std::size_t kMostBytesShown = 64;

json to_json(const RegistryEdit& edit) {
  using Action = RegistryEdit::Action;
  json shown{{"unit", edit.unit},
             {"hive", compose::to_string(edit.hive)},
             {"key", edit.key},
             {"action", edit.action == Action::create_key     ? "create key"
                        : edit.action == Action::delete_key   ? "delete key"
                        : edit.action == Action::delete_value ? "delete value"
                                                              : "set value"}};
  if (edit.action == Action::delete_value || edit.action == Action::set_value) shown["value"] = edit.name;
  if (edit.action == Action::set_value) {
    shown["type"] = registry::type_name(edit.type);
    shown["data"] = edit.secret ? "(secret)" : registry::value_text(edit.type, edit.data, kMostBytesShown);
  }
  return shown;
}

json to_json(const FileEdit& edit) {
  return {{"unit", edit.unit}, {"path", edit.path}, {"size", edit.content.size()}, {"secret", edit.secret}};
}

json to_json(const PoolPlan& plan) {
  auto registry = json::array(), files = json::array();
  for (const auto& edit : plan.common.registry) registry.push_back(to_json(edit));
  for (const auto& edit : plan.common.files) files.push_back(to_json(edit));
  for (const auto& value : plan.own.values) {
    registry.push_back(to_json(value.edit));
    registry.back()["each"] = true;
  }
  for (const auto& file : plan.own.files) {
    files.push_back(to_json(file.edit));
    files.back()["each"] = true;
    files.back()["size"] = file.capacity_bytes;
  }
  return {{"image", to_json(plan.image)}, {"clones", plan.clones}, {"boots", plan.boots},
          {"registry", registry},         {"files", files},        {"warnings", plan.warnings}};
}

Result<json> import_image(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "image"));
  RS_CHECK(identity::check_name(name, "image"));
  RS_TRY(const auto disk, text_field(call.request, "disk"));
  if (disk.front() != '/')
    return fail(ErrorCode::invalid_argument, "'disk' must be an absolute path on this host");
  auto& files = os::real_file_system();
  RS_TRY(const auto image, inspect_image(files, disk));
  // The second reader's opinion, before a thousand desktops depend on the first one's.
  auto facts = to_json(image);
  if (image.format == vdisk::Format::vhdx || image.format == vdisk::Format::vhd) {
    RS_TRY(const auto checked,
           crosscheck::cross_check(files, disk, [&](std::uint64_t done, std::uint64_t total) {
             if (call.progress) call.progress({"compared with libvhdi", done, total});
           }));
    if (checked.has_unknown())
      return fail(ErrorCode::corrupt,
                  disk +
                      ": libvhdi reads other bytes than we do; 'roamstead disk check --cross' "
                      "shows where");
    facts["cross_checked"] = true;
  }
  RS_TRY(const auto info, vdisk::inspect(files, disk));
  ImageRow row{name, disk, facts.dump(), info.id, files.modified_seconds(disk).value_or(0), now_100ns()};
  RS_CHECK(store->put_image(row));
  return to_json(row);
}

Result<json> list_images(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto rows, store->images());
  auto list = json::array();
  for (const auto& row : rows) {
    RS_TRY(auto image, to_json(row));
    list.push_back(std::move(image));
  }
  return json{{"images", list}};
}

Result<json> show_image(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "image"));
  RS_TRY(const auto row, store->image(name));
  return to_json(row);
}

Result<json> forget_image(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "image"));
  RS_CHECK(store->remove_image(name));
  return json{{"image", name}, {"forgotten", true}};
}

struct Wanted {
  PoolSpec spec;
  std::string text;
};

// "specification" is the text; what it names is read from "directory", where it lies.
Result<Wanted> wanted_pool(const Invocation& call) {
  RS_TRY(auto text, text_field(call.request, "specification"));
  RS_TRY(const auto source, text_field_or(call.request, "source", "specification"));
  RS_TRY(const auto directory, text_field(call.request, "directory"));
  RS_TRY(auto spec, parse_pool_spec(os::real_file_system(), text, source, directory));
  return Wanted{std::move(spec), std::move(text)};
}

// The specification of a pool that is there. Files that it names may be gone: they are in its template.
Result<PoolSpec> spec_of(const PoolStore& store, const std::string& name) {
  RS_TRY(const auto row, store.pool(name));
  return parse_made_pool_spec(row.specification, "pool " + name);
}

Result<json> plan_pool(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto wanted, wanted_pool(call));
  const auto port = identity_port(call.context, wanted.spec.session_pool);
  RS_CHECK(check_profiles(call.context, wanted.spec));
  RS_TRY(const auto plan, PoolJob(os::real_file_system(), *store, port).plan(wanted.spec));
  auto answer = to_json(plan);
  answer["pool"] = wanted.spec.name;
  if (!plan.definition.empty()) answer["definition"] = plan.definition;
  return answer;
}

Result<json> create_pool(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto wanted, wanted_pool(call));
  RS_CHECK(call.context.store.pool(wanted.spec.session_pool.empty() ? kDefaultPool : wanted.spec.session_pool)
               .map([](const Pool&) {}));
  RS_CHECK(check_profiles(call.context, wanted.spec));
  RS_TRY(const auto job, store->jobs().begin(wanted.spec.name, "pool create"));
  const auto port = identity_port(call.context, wanted.spec.session_pool);
  // Twice as many as there are cores: half of them wait for the disk.
  const auto threads = 2 * std::max(1u, std::thread::hardware_concurrency());
  PoolJob making(os::real_file_system(), *store, port);
  RS_TRY(auto prewarm, prewarm_port(call.context));
  making.set_prewarm(std::move(prewarm));
  RS_TRY(const auto result,
         making.create(job, wanted.spec, wanted.text, threads,
                       [&](const std::string& what, std::uint64_t done, std::uint64_t total) {
                         if (call.progress) call.progress({what, done, total});
                       }));
  auto failed = json::array();
  for (const auto& row : result.failed) failed.push_back(to_json(row));
  log_info("pool '{}': {} desktops made, {} were there, {} failed", wanted.spec.name, result.made,
           result.present, result.failed.size());
  auto not_started = json::array();
  for (const auto& row : result.not_started) not_started.push_back(to_json(row));
  return json{{"pool", wanted.spec.name}, {"made", result.made},       {"present", result.present},
              {"failed", failed},         {"started", result.started}, {"not_started", not_started}};
}

Result<json> show_pool(const PoolStore& store, const PoolRow& row) {
  RS_TRY(const auto clones, store.clones(row.name));
  const auto count = [&](CloneState state) {
    return std::count_if(clones.begin(), clones.end(),
                         [&](const CloneRow& clone) { return clone.state == state; });
  };
  return json{{"pool", row.name},
              {"image", row.image},
              {"directory", row.directory},
              {"created_100ns", row.created_100ns},
              {"clones", clones.size()},
              {"made", count(CloneState::made)},
              {"failed", count(CloneState::failed)},
              {"planned", count(CloneState::planned)}};
}

Result<json> list_pools(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto rows, store->pools());
  auto list = json::array();
  for (const auto& row : rows) {
    RS_TRY(auto pool, show_pool(*store, row));
    list.push_back(std::move(pool));
  }
  return json{{"pools", list}};
}

Result<json> show_one_pool(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "pool"));
  RS_TRY(const auto row, store->pool(name));
  RS_TRY(auto pool, show_pool(*store, row));
  pool["specification"] = row.specification;
  return pool;
}

bool delete_data(const Invocation& call) {
  const auto given = call.request.find("delete_data");
  return given != call.request.end() && given->is_boolean() && given->get<bool>();
}

Result<json> delete_pool(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "pool"));
  RS_TRY(const auto job, store->jobs().begin(name, "pool delete"));
  RS_TRY(const auto spec, spec_of(*store, name));
  RS_TRY(const auto clones, store->clones(name));
  RS_TRY(const auto in_use, desktops_to_fence(call));
  std::vector<Fenced> fences;  // held until the pool is gone
  for (const auto& clone : clones)
    if (in_use.contains(clone.name) || call.context.sessions.is_connected(clone.name)) {
      RS_TRY_CTX(auto fenced, clone.name, fence_clone(call, spec, clone));
      fences.push_back(std::move(fenced));
    }
  const auto port = identity_port(call.context, spec.session_pool);
  RS_CHECK(PoolJob(os::real_file_system(), *store, port)
               .remove(
                   job, spec,
                   [&](const std::string& what, std::uint64_t done, std::uint64_t total) {
                     if (call.progress) call.progress({what, done, total});
                   },
                   delete_data(call)));
  std::vector<std::string> names;
  for (const auto& clone : clones) names.push_back(clone.name);
  RS_TRY(const auto kept, data_disks_there(os::real_file_system(), spec, names));
  auto saved = json::array();
  for (const auto& fenced : fences)
    for (const auto& session : fenced.saved) saved.push_back(session);
  return json{{"pool", name},
              {"deleted", true},
              {"clones", clones.size()},
              {"saved", saved},
              {"kept_user_disks", kept}};
}

Result<json> list_clones(const Invocation& call) {
  RS_TRY(auto* store, pool_store(call));
  RS_TRY(const auto pool, text_field_or(call.request, "pool", ""));
  if (!pool.empty()) RS_CHECK(store->pool(pool).map([](const PoolRow&) {}));
  RS_TRY(const auto rows, store->clones(pool));
  RS_TRY(const auto boots, store->boots());
  auto list = json::array();
  for (const auto& row : rows) {
    list.push_back(to_json(row));
    const auto boot = boots.find(row.name);
    list.back().update(boot_json(row, boot == boots.end() ? CloneBoot() : boot->second));
  }
  return json{{"clones", list}};
}

struct Chosen {
  PoolStore* store = nullptr;
  CloneRow row;
  PoolSpec spec;
};

Result<Chosen> chosen_clone(const Invocation& call) {
  Chosen chosen;
  RS_TRY(chosen.store, pool_store(call));
  RS_TRY(const auto name, text_field(call.request, "clone"));
  RS_TRY(chosen.row, chosen.store->clone(name));
  RS_TRY(chosen.spec, spec_of(*chosen.store, chosen.row.pool));
  return chosen;
}

// The same to change it. What was chosen was read while the job was held, so that it is still so.
struct ChosenJob {
  Chosen chosen;
  RunningJob job;
};
Result<ChosenJob> chosen_job(const Invocation& call, const std::string& what) {
  RS_TRY(const auto before, chosen_clone(call));
  RS_TRY(auto job, before.store->jobs().begin_clone(before.row.pool, before.row.name, what));
  RS_TRY(auto chosen, chosen_clone(call));
  if (chosen.row.pool != before.row.pool)
    return fail(ErrorCode::busy, "clone '" + chosen.row.name + "' has just been made in another pool");
  return ChosenJob{std::move(chosen), std::move(job)};
}

Result<json> show_clone(const Invocation& call) {
  RS_TRY(const auto chosen, chosen_clone(call));
  const auto paths = paths_of(chosen.spec, chosen.row.name);
  auto clone = to_json(chosen.row);
  clone["disk"] = paths.active;
  if (!paths.reference.empty()) clone["reference"] = paths.reference;
  if (chosen.spec.user_disk) clone["user_disk"] = data_disk_path(chosen.spec, chosen.row.name);
  if (chosen.spec.addresses)
    clone["address"] =
        address_text(chosen.spec.addresses->first + static_cast<std::uint32_t>(chosen.row.index));
  if (chosen.spec.addresses6) clone["address6"] = chosen.spec.addresses6->address(chosen.row.index).text();
  RS_TRY(auto boot, chosen.store->boot(chosen.row.name));
  const PoolVms vms(os::real_file_system(), chosen.spec);
  const auto power = vms.power(chosen.row.name, chosen.row.index);
  if (vms.any()) {
    clone["power"] = power ? std::string(hypervisor::to_string(*power)) : power.error().to_string();
    clone["definition"] = vms.definition_path(chosen.row.name);
  }
  // Nobody reports from an image without the agent; while nobody writes, its disk tells.
  const bool in_use =
      !power || *power == hypervisor::Power::on || call.context.sessions.is_connected(chosen.row.name);
  if (chosen.row.state == CloneState::made && boot.state != BootState::ready && !in_use) {
    const auto read = read_first_boot(os::real_file_system(), paths.active);
    if (!read) {
      clone["boot_unread"] = read.error().to_string();
    } else if (*read) {
      RS_CHECK(note_first_boot(*chosen.store, chosen.row.name, **read));
      RS_TRY(boot, chosen.store->boot(chosen.row.name));
    }
  }
  clone.update(boot_json(chosen.row, boot));
  RS_TRY(clone["enrolled"], call.context.store.is_enrolled(chosen.row.name));
  return clone;
}

Result<json> diff_clone(const Invocation& call) {
  RS_TRY(const auto chosen, chosen_clone(call));
  RS_TRY(const auto image, chosen.store->image(chosen.spec.image));
  RS_TRY(const auto diff,
         diff_clone_disk(os::real_file_system(), image.disk, paths_of(chosen.spec, chosen.row.name).active));
  auto registry = json::array(), files = json::array();
  for (const auto& change : diff.registry) {
    json shown{{"hive", compose::to_string(change.hive)}, {"change", change.kind}, {"key", change.key}};
    if (change.has_value) {
      shown["value"] = change.name;
      shown["before"] = change.before;
      shown["after"] = change.after;
    }
    registry.push_back(std::move(shown));
  }
  for (const auto& change : diff.files)
    files.push_back({{"path", change.path}, {"change", change.kind}, {"size", change.size_bytes}});
  return json{
      {"clone", chosen.row.name}, {"image", chosen.spec.image}, {"registry", registry}, {"files", files}};
}

Result<json> refresh_clone(const Invocation& call) {
  RS_TRY(const auto both, chosen_job(call, "clone refresh"));
  const auto& [chosen, job] = both;
  // It gets a new identity: who revoked the old one decides.
  RS_TRY(const bool enrolled, call.context.store.is_enrolled(chosen.row.name));
  if (!enrolled && call.caller.role < Role::administrator)
    return fail(ErrorCode::denied, "desktop '" + chosen.row.name +
                                       "' was revoked: letting it in again by a refresh needs the role "
                                       "administrator");
  PoolVms vms(os::real_file_system(), chosen.spec);
  RS_TRY(const auto fenced, fence_clone(call, chosen.spec, chosen.row));
  const auto port = identity_port(call.context, chosen.spec.session_pool);
  PoolJob making(os::real_file_system(), *chosen.store, port);
  RS_TRY(auto prewarm, prewarm_port(call.context));
  making.set_prewarm(std::move(prewarm));
  RS_CHECK(making.refresh_clone(job, chosen.spec, chosen.row));
  json answer{{"clone", chosen.row.name}, {"refreshed", true}, {"saved", fenced.saved}, {"started", false}};
  if (fenced.was_on) {
    RS_CHECK_CTX("it is refreshed, but its machine is off", vms.power_on(chosen.row.name, chosen.row.index));
    RS_CHECK(chosen.store->set_boot(chosen.row.name, {BootState::started, "", now_100ns()}).map([](bool) {}));
    answer["started"] = true;
  }
  return answer;
}

Result<json> delete_clone(const Invocation& call) {
  RS_TRY(const auto both, chosen_job(call, "clone delete"));
  const auto& [chosen, job] = both;
  RS_TRY(const auto fenced, fence_clone(call, chosen.spec, chosen.row));
  const auto port = identity_port(call.context, chosen.spec.session_pool);
  RS_CHECK(PoolJob(os::real_file_system(), *chosen.store, port)
               .remove_clone(job, chosen.spec, chosen.row, delete_data(call)));
  RS_TRY(const auto kept, data_disks_there(os::real_file_system(), chosen.spec, {chosen.row.name}));
  return json{
      {"clone", chosen.row.name}, {"deleted", true}, {"saved", fenced.saved}, {"kept_user_disks", kept}};
}

}  // namespace

void add_compose_commands(CommandTable& table) {
  table.add({"image.import", Role::administrator, import_image, {"image", "disk"}});
  table.add({"image.list", Role::viewer, list_images, {}});
  table.add({"image.show", Role::viewer, show_image, {}});
  table.add({"image.forget", Role::administrator, forget_image, {"image"}});
  table.add({"pool.plan", Role::administrator, plan_pool, {}});  // reads files on the host
  table.add({"pool.create", Role::administrator, create_pool, {"source", "directory"}});
  table.add({"pool.list", Role::viewer, list_pools, {}});
  table.add({"pool.show", Role::viewer, show_one_pool, {}});
  table.add({"pool.delete", Role::administrator, delete_pool, {"pool", "discard_unsent"}});
  table.add({"clone.list", Role::viewer, list_clones, {}});
  table.add({"clone.show", Role::viewer, show_clone, {}});
  table.add({"clone.diff", Role::administrator, diff_clone, {}});
  table.add({"clone.refresh", Role::operator_, refresh_clone, {"clone", "discard_unsent"}});
  table.add({"clone.delete", Role::administrator, delete_clone, {"clone", "discard_unsent"}});
}

}  // namespace roamstead::server
