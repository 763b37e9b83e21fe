#include "agent/core/registry_loader.h"

#include <algorithm>

#include "agent/core/patience.h"
#include "common/base/log.h"
#include "common/base/text.h"

namespace roamstead::agent {

using profile::Entry;
using profile::KeyPath;
using profile::KeyScope;
using profile::ProfilePath;

struct RegistryLoader::State {
  State(ProfilePath hive_path, Entry file_entry, std::string base_file)
      : path(std::move(hive_path)), entry(std::move(file_entry)), base_path(std::move(base_file)) {}

  const ProfilePath path;  // in the version
  const Entry entry;
  const std::string base_path;  // on the volume

  std::mutex writing;  // one writer of live and base hive; before `mutex`
  std::mutex mutex;    // guards all below
  std::condition_variable changed;
  std::optional<registry::Editor> base;  // none: not read yet, or the file may hold less
  std::optional<LoadedKeys> root;        // for the base hive, until the hive has its name
  std::set<std::string> in_flight;       // upcased paths of keys that some thread brings
  // Keys that programs deleted before they were loaded. Lost with the process: then such a key that a program
  // made anew meanwhile gets the version's values too when it is loaded.
  std::set<std::string> deleted;
  std::uint64_t keys_loaded = 0, keys_known = 0;
};

namespace {

std::string upcased_text(const ProfilePath& path) { return to_wtf8(upcase_key(path.text())); }

// Visits keys of a base hive that are not complete, from above; not what lies below them.
Result<void> visit_placeholders(const registry::Hive& base, const registry::Key& key, const KeyPath& path,
                                std::uint64_t& complete, const std::function<void(const KeyPath&)>& visit) {
  if (!extract::is_complete(key)) {
    visit(path);
    return {};
  }
  ++complete;
  std::vector<std::uint32_t> cells;
  RS_CHECK(base.subkeys(key, cells));
  for (const auto cell : cells) {
    RS_TRY(const auto subkey, base.key(cell));
    RS_CHECK(visit_placeholders(base, subkey, path.child(subkey.name.to_wtf8()), complete, visit));
  }
  return {};
}

}  // namespace

RegistryLoader::RegistryLoader(wire::CoordinatorLink& link, const Guid& session_secret, ProfileVolume& volume,
                               RegistryPort& port, Gate& gate, Activity& activity, Place place,
                               RegistryLoaderOptions options)
    : volume_(volume),
      port_(port),
      gate_(gate),
      activity_(activity),
      place_(std::move(place)),
      options_(options),
      source_(link, session_secret, options.patience) {}

std::shared_ptr<RegistryLoader::State> RegistryLoader::find(const ProfilePath& hive) const {
  std::lock_guard lock(mutex_);
  const auto it = hives_.find(upcased_text(hive));
  return it == hives_.end() ? nullptr : it->second;
}

std::shared_ptr<RegistryLoader::State> RegistryLoader::add(const ProfilePath& hive, const Entry& entry) {
  std::lock_guard lock(mutex_);
  auto& state = hives_[upcased_text(hive)];
  if (!state)
    state = std::make_shared<State>(hive, entry,
                                    extract::base_hive_path(place_.journal_path, place_.session, hive));
  return state;
}

std::string RegistryLoader::live_path(const State& state) const {
  return place_.profile_root + "/" + state.path.text();
}

// state.mutex is held. False when there is no base hive yet.
Result<bool> RegistryLoader::open_base(State& state) {
  if (state.base) return true;
  const auto native = volume_.native_path(state.base_path);
  RS_TRY(const bool there, volume_.files().exists(native));
  if (!there) return false;
  constexpr std::uint64_t kLimit = std::uint64_t{registry::kMaxBinsBytes} + registry::kBaseBlockBytes;
  RS_TRY(auto bytes, os::read_file(volume_.files(), native, kLimit));
  RS_TRY(state.base, registry::Editor::open(std::move(bytes), state.base_path));
  std::uint64_t complete = 0, known = 0;
  RS_TRY(const auto root, state.base->hive().root());
  RS_CHECK(visit_placeholders(state.base->hive(), root, {}, complete, [&](const KeyPath&) { ++known; }));
  state.keys_loaded = complete;
  state.keys_known = known;
  return true;
}

Result<void> RegistryLoader::recover(const std::map<ProfilePath, Entry>& hives) {
  for (const auto& [path, entry] : hives) {
    auto state = add(path, entry);
    std::lock_guard lock(state->mutex);
    RS_TRY_CTX([[maybe_unused]] const bool there, "base hive of " + path.text(), open_base(*state));
  }
  return {};
}

Result<LoadedKeys> RegistryLoader::fetch(State& state, const KeyPath& key, KeyScope scope) {
  RS_TRY_CTX(auto loaded, "loading key '" + key.text() + "' of " + state.path.text(),
             source_.fetch(state.path, key, scope));
  ++fetches_;
  fetched_bytes_ += loaded.bytes;
  return loaded;
}

Result<extract::ItemIdentity> RegistryLoader::stage(const ProfilePath& hive, const Entry& entry,
                                                    const std::string& staged) {
  if (profile::classify_hive_file(hive.text()) != profile::HiveFile::hive)
    return fail(ErrorCode::protocol, "'" + hive.text() + "' is no place for a registry hive");
  auto state = add(hive, entry);
  RS_TRY(auto root, fetch(*state, {}, KeyScope::key));
  RS_TRY(const auto file, port_.make(staged, entry, root.keys.front().entry));
  RS_TRY([[maybe_unused]] const auto kept, merge_loaded(*file, root));
  RS_TRY(auto identity, file->save());
  std::lock_guard lock(state->mutex);
  state->root = std::move(root);
  return identity;
}

Result<void> RegistryLoader::prepare(const ProfilePath& hive, const Entry& entry) {
  auto state = add(hive, entry);
  {
    std::lock_guard lock(state->mutex);
    RS_TRY(const bool there, open_base(*state));
    if (there) return {};
  }
  RS_TRY(auto root, fetch(*state, {}, KeyScope::key));
  std::lock_guard lock(state->mutex);
  state->root = std::move(root);
  return {};
}

Result<void> RegistryLoader::published(const ProfilePath& hive) {
  auto state = find(hive);
  if (!state) return fail(ErrorCode::internal, "'" + hive.text() + "' was not staged");
  // Not `writing`: who writes waits for the gate that the caller passes, and nobody does without a base hive.
  std::lock_guard lock(state->mutex);
  RS_TRY(const bool there, open_base(*state));
  auto root = std::move(state->root);
  state->root.reset();
  if (there) return {};
  if (!root) return fail(ErrorCode::internal, "'" + hive.text() + "' was not staged");
  RS_CHECK(volume_.make_directories(os::parent_directory(state->base_path)));
  RS_TRY(state->base, extract::create_base_hive());
  return write_base(*state, {{&*root, root->keys}});
}

// state.mutex is held, and the live hive has all of this.
Result<void> RegistryLoader::write_base(
    State& state, const std::vector<std::pair<const LoadedKeys*, std::vector<profile::KeyState>>>& parts) {
  RS_TRY(const bool there, open_base(state));
  if (!there) return fail(ErrorCode::not_found, "the base hive of '" + state.path.text() + "' is gone");
  auto written = [&]() -> Result<void> {
    for (const auto& [loaded, keys] : parts) {
      const auto read = [&large = loaded->large](const KeyPath& key, const profile::RegistryValue& value) {
        return Result<Bytes>(large.at({key.text(), value.name}));
      };
      RS_CHECK(extract::add_to_base_hive(*state.base, keys, read));
    }
    state.base->finish();
    return os::write_file_durably(volume_.files(), volume_.native_path(state.base_path), state.base->file());
  }();
  if (!written) {
    state.base.reset();  // the file is what counts
    return fail(std::move(written).error().with("base hive of " + state.path.text()));
  }
  std::uint64_t complete = 0, known = 0;
  RS_TRY(const auto root, state.base->hive().root());
  RS_CHECK(visit_placeholders(state.base->hive(), root, {}, complete, [&](const KeyPath&) { ++known; }));
  state.keys_loaded = complete;
  state.keys_known = known;
  return {};
}

// A program may have the file open, or change it just now.
Result<void> RegistryLoader::write(State& state, const std::vector<LoadedKeys>& loads) {
  std::lock_guard writing(state.writing);
  const auto until = Activity::Clock::now() + options_.patience;
  for (;;) {
    auto written = [&]() -> Result<void> {
      std::shared_lock use(exclusively_mutex_);
      if (exclusively_) return exclusively_(live_path(state), [&] { return write_once(state, loads); });
      return write_once(state, loads);
    }();
    const bool passes =
        !written && (written.error().code == ErrorCode::conflict || written.error().code == ErrorCode::busy);
    constexpr auto kPause = std::chrono::milliseconds(50);
    if (!passes || Activity::Clock::now() + kPause >= until) return written;
    std::this_thread::sleep_for(kPause);
  }
}

// No snapshot comes between the two hives.
Result<void> RegistryLoader::write_once(State& state, const std::vector<LoadedKeys>& loads) {
  Gate::Pass pass(gate_);
  RS_TRY(const auto live, port_.mount(live_path(state), state.entry));
  std::vector<std::pair<const LoadedKeys*, std::vector<profile::KeyState>>> parts;
  std::set<std::string> deleted;
  for (const auto& loaded : loads) {
    RS_TRY(auto kept, merge_loaded(*live, loaded));
    if (kept.empty()) {
      deleted.insert(upcased(loaded.top));
    } else {
      parts.emplace_back(&loaded, std::move(kept));
    }
  }
  if (!parts.empty()) {
    RS_TRY([[maybe_unused]] const auto identity, live->save());
  }
  std::lock_guard lock(state.mutex);
  if (!parts.empty()) RS_CHECK(write_base(state, parts));
  state.deleted.merge(deleted);
  return {};
}

// state.mutex is held.
Result<std::optional<KeyPath>> RegistryLoader::missing_on_the_way(State& state, const KeyPath& key) {
  RS_TRY(const bool there, open_base(state));
  if (!there) return fail(ErrorCode::not_found, "'" + state.path.text() + "' is not on this desktop yet");
  const auto& base = state.base->hive();
  RS_TRY(auto at, base.root());
  KeyPath path;
  const auto components = key.components();
  for (auto next = components.begin();; ++next) {
    if (state.deleted.count(upcased(path)) != 0) return std::optional<KeyPath>();
    if (!extract::is_complete(at)) return std::optional<KeyPath>(path);
    if (next == components.end()) return std::optional<KeyPath>();
    RS_TRY(const auto name, to_utf16(*next));
    RS_TRY(const auto subkey, base.find_subkey(at, name));
    if (!subkey) return std::optional<KeyPath>();
    at = *subkey;
    path = path.child(at.name.to_wtf8());
  }
}

// state.mutex is held.
Result<std::vector<KeyPath>> RegistryLoader::placeholders(State& state, const KeyPath& top) {
  std::vector<KeyPath> found;
  RS_TRY(const bool there, open_base(state));
  if (!there) return found;
  auto key = state.base->hive().find(top.text());
  if (!key && key.error().code == ErrorCode::not_found) return found;
  if (!key) return fail(std::move(key).error());
  std::uint64_t complete = 0;
  RS_CHECK(visit_placeholders(state.base->hive(), *key, top, complete, [&](const KeyPath& path) {
    if (state.deleted.count(upcased(path)) == 0) found.push_back(path);
  }));
  return found;
}

Result<void> RegistryLoader::load_key(State& state, const KeyPath& key) {
  const auto until = Activity::Clock::now() + options_.patience;
  for (;;) {
    std::unique_lock lock(state.mutex);
    RS_TRY(const auto next, missing_on_the_way(state, key));
    if (!next) return {};
    const auto mark = upcased(*next);
    if (!state.in_flight.insert(mark).second) {
      if (state.changed.wait_until(lock, until) == std::cv_status::timeout &&
          state.in_flight.count(mark) != 0)
        return fail(ErrorCode::timeout, "waited for key '" + next->text() + "' of " + state.path.text());
      continue;
    }
    lock.unlock();
    auto done = [&]() -> Result<void> {
      std::vector<LoadedKeys> loads(1);
      const bool last = upcased(*next) == upcased(key);
      RS_TRY(loads[0], fetch(state, *next, last ? KeyScope::subtree_if_small : KeyScope::key));
      return write(state, loads);
    }();
    lock.lock();
    state.in_flight.erase(mark);
    state.changed.notify_all();
    RS_CHECK(done);
  }
}

Result<void> RegistryLoader::load(const ProfilePath& hive, const KeyPath& key, bool subtree) {
  auto state = find(hive);
  if (!state) return fail(ErrorCode::not_found, "'" + hive.text() + "' is not on this desktop");
  Activity::Foreground foreground(activity_);
  RS_CHECK(load_key(*state, key));
  while (subtree) {
    RS_TRY(const bool more, bring(*state, key, [] { return true; }));
    if (!more) break;
  }
  return {};
}

Result<bool> RegistryLoader::fill(const ProfilePath& hive, const std::function<bool()>& go_on) {
  auto state = find(hive);
  if (!state) return false;
  return bring(*state, {}, go_on);
}

// Fetches placeholders below `top` until write_bytes have come, then writes the hives. Whether there were
// any.
Result<bool> RegistryLoader::bring(State& state, const KeyPath& top, const std::function<bool()>& go_on) {
  std::vector<KeyPath> wanted;
  {
    std::unique_lock lock(state.mutex);
    RS_TRY(auto found, placeholders(state, top));
    if (found.empty()) return false;
    for (auto& path : found)
      if (state.in_flight.count(upcased(path)) == 0) wanted.push_back(std::move(path));
    if (wanted.empty()) {  // others are at it
      state.changed.wait_for(lock, std::chrono::milliseconds(100));
      return true;
    }
    for (const auto& path : wanted) state.in_flight.insert(upcased(path));
  }
  auto done = bring_marked(state, wanted, go_on);
  std::lock_guard lock(state.mutex);
  for (const auto& path : wanted) state.in_flight.erase(upcased(path));
  state.changed.notify_all();
  RS_CHECK(done);
  return true;
}

// What is too large for one answer brings further keys to be fetched, before anything is written.
Result<void> RegistryLoader::bring_marked(State& state, std::vector<KeyPath>& wanted,
                                          const std::function<bool()>& go_on) {
  std::vector<LoadedKeys> loads;
  std::uint64_t bytes = 0;
  Result<void> result;
  for (std::size_t next = 0; next < wanted.size(); ++next) {
    if (bytes >= options_.write_bytes || !go_on()) break;
    auto loaded = fetch(state, wanted[next], KeyScope::subtree_if_small);
    if (!loaded) {
      result = fail(std::move(loaded).error());
      if (is_away(result.error())) break;
      continue;
    }
    bytes += loaded->bytes + loaded->keys.size() * sizeof(profile::KeyState);
    {
      std::lock_guard lock(state.mutex);
      for (const auto& key : loaded->keys)
        if (!key.complete && state.in_flight.insert(upcased(key.path)).second) wanted.push_back(key.path);
    }
    loads.push_back(std::move(*loaded));
  }
  if (loads.empty()) return result;
  auto written = write(state, loads);
  if (written || loads.size() == 1) return written ? result : written;
  // One that cannot be written shall not hold up the others, but for those below it.
  std::vector<KeyPath> failed;
  for (auto& each : loads) {
    const auto above = [&](const KeyPath& path) { return each.top.is_within(path); };
    if (std::any_of(failed.begin(), failed.end(), above)) continue;
    std::vector<LoadedKeys> one;
    one.push_back(std::move(each));
    if (auto alone = write(state, one); !alone) {
      result = std::move(alone);
      failed.push_back(one.front().top);
    }
  }
  return result;
}

Result<void> RegistryLoader::finish_interrupted() {
  for (const auto& hive : hives()) {
    auto state = find(hive);
    std::set<std::string> seen;
    for (bool again = true; again;) {
      again = false;
      std::vector<KeyPath> left;
      {
        std::lock_guard lock(state->mutex);
        RS_TRY(left, placeholders(*state, {}));
      }
      if (left.empty()) break;
      RS_TRY(const auto live, port_.mount(live_path(*state), state->entry));
      for (const auto& path : left) {
        if (!seen.insert(upcased(path)).second) continue;
        RS_TRY(const bool filled, has_content(*live, path));
        if (!filled) continue;
        RS_CHECK(load_key(*state, path));
        again = true;
      }
    }
  }
  return {};
}

Result<bool> RegistryLoader::has_content(MountedHive& live, const KeyPath& path) {
  RS_TRY(auto key, live.root());
  for (const auto name : path.components()) {
    RS_TRY(const auto next, live.open(key, std::string(name)));
    if (!next) return false;
    key = *next;
  }
  RS_TRY(const auto listing, live.enumerate(key));
  return !listing.subkeys.empty() || !listing.values.empty();
}

std::vector<ProfilePath> RegistryLoader::hives() const {
  std::lock_guard lock(mutex_);
  std::vector<ProfilePath> paths;
  for (const auto& [key, state] : hives_) paths.push_back(state->path);
  return paths;
}

bool RegistryLoader::is_loaded(const ProfilePath& hive, const KeyPath& key) const {
  auto state = find(hive);
  if (!state) return false;
  std::lock_guard lock(state->mutex);
  if (!state->base) return false;
  const auto found = state->base->hive().find(key.text());
  return found && extract::is_complete(*found);
}

RegistryProgress RegistryLoader::progress() const {
  RegistryProgress progress;
  progress.fetches = fetches_;
  progress.fetched_bytes = fetched_bytes_;
  for (const auto& hive : hives()) {
    auto state = find(hive);
    std::lock_guard lock(state->mutex);
    ++progress.hives;
    progress.keys_loaded += state->keys_loaded;
    progress.keys_known += state->keys_known;
  }
  return progress;
}

void RegistryLoader::set_exclusively(Exclusively exclusively) {
  std::unique_lock lock(exclusively_mutex_);
  exclusively_ = std::move(exclusively);
}

}  // namespace roamstead::agent
