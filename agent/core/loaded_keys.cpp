#include "agent/core/loaded_keys.h"

#include <algorithm>
#include <set>

#include "agent/core/patience.h"

namespace roamstead::agent {

using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::ProfilePath;

namespace {

constexpr std::size_t kMostKeys = 2'000'000;  // of one answer; a hive holds about as many

tl::unexpected<Error> contradiction(const LoadedKeys& loaded, const std::string& what) {
  return fail(ErrorCode::protocol, "answer about key '" + loaded.top.text() + "': " + what);
}

// The top complete, everything else below something complete, nothing twice; then parents first.
Result<void> check_and_sort(LoadedKeys& loaded) {
  std::map<std::string, bool> complete;  // by upcased path
  for (const auto& state : loaded.keys)
    if (!complete.emplace(upcased(state.path), state.complete).second)
      return contradiction(loaded, "'" + state.path.text() + "' comes twice");
  const auto top = complete.find(upcased(loaded.top));
  if (top == complete.end() || !top->second) return contradiction(loaded, "the key itself is not complete");
  for (const auto& state : loaded.keys) {
    if (upcased(state.path) == top->first) continue;
    const auto parent = complete.find(upcased(state.path.parent()));
    if (state.path.is_root() || parent == complete.end() || !parent->second)
      return contradiction(loaded, "'" + state.path.text() + "' belongs to no key in it");
  }
  std::stable_sort(loaded.keys.begin(), loaded.keys.end(),
                   [](const KeyState& a, const KeyState& b) { return a.path.depth() < b.path.depth(); });
  return {};
}

Result<void> check_values(const ProfilePath& hive, const KeyState& state) {
  if (!state.complete && !state.values.empty())
    return fail(ErrorCode::protocol, "key '" + state.path.text() + "' has values and is not complete");
  profile::PutKey same{hive, state.path, state.entry, false, state.values, {}};
  if (auto sound = check_record(same); !sound)
    return fail(ErrorCode::protocol, "an answer about keys: " + sound.error().to_string());
  return {};
}

}  // namespace

Result<LoadedKeys> KeySource::fetch(const ProfilePath& hive, const KeyPath& key, KeyScope scope) {
  LoadedKeys loaded;
  loaded.top = key;
  for (std::string cursor;;) {
    RS_TRY(auto part, retry_while_away(patience_, [&] {
             return link_.list_keys(session_secret_, hive, key, scope, cursor);
           }));
    if (part.keys.empty() && !part.next.empty())
      return contradiction(loaded, "an empty part that is not the last");
    if (loaded.keys.size() + part.keys.size() > kMostKeys)
      return contradiction(loaded, "more than " + std::to_string(kMostKeys) + " keys");
    std::move(part.keys.begin(), part.keys.end(), std::back_inserter(loaded.keys));
    if (part.next.empty()) break;
    if (part.next == cursor) return contradiction(loaded, "a cursor that leads nowhere");
    cursor = std::move(part.next);
  }
  RS_CHECK(check_and_sort(loaded));
  RS_CHECK(fetch_data(hive, loaded));
  return loaded;
}

// The data that did not come with the keys.
Result<void> KeySource::fetch_data(const ProfilePath& hive, LoadedKeys& loaded) {
  for (auto& state : loaded.keys) {
    loaded.bytes += state.path.text().size() + state.entry.class_name.size();
    for (auto& value : state.values) {
      if (value.size_bytes > profile::kMaxValueBytes)
        return contradiction(loaded, "a value of " + std::to_string(value.size_bytes) + " bytes");
      loaded.bytes += value.name.size() + value.size_bytes;
      if (value.data.size() == value.size_bytes) continue;
      if (!value.data.empty()) return contradiction(loaded, "a part of a value's data");
      RS_TRY(auto data, fetch_value(hive, state.path, value));
      if (value.is_inline()) {
        value.data = std::move(data);
      } else {
        loaded.large[{state.path.text(), value.name}] = std::move(data);
      }
    }
    RS_CHECK(check_values(hive, state));
  }
  return {};
}

Result<Bytes> KeySource::fetch_value(const ProfilePath& hive, const KeyPath& key,
                                     const profile::RegistryValue& value) {
  Bytes data;
  while (data.size() < value.size_bytes) {
    const auto length = static_cast<std::size_t>(
        std::min<std::uint64_t>(wire::kMaxReadBytes, value.size_bytes - data.size()));
    RS_TRY_CTX(auto piece, "value '" + value.name + "' of key '" + key.text() + "'",
               retry_while_away(patience_, [&] {
                 return link_.read_value(session_secret_, hive, key, value.name, data.size(), length);
               }));
    if (piece.size() != length) return fail(ErrorCode::protocol, "a short piece of a value");
    data.insert(data.end(), piece.begin(), piece.end());
  }
  return data;
}

namespace {

class Merge {
 public:
  Merge(MountedHive& live, const LoadedKeys& loaded) : live_(live), loaded_(loaded) {}

  Result<std::vector<KeyState>> run() {
    std::vector<KeyState> kept;
    for (const auto& state : loaded_.keys) {
      RS_TRY(const auto key, upcased(state.path) == upcased(loaded_.top) ? find(loaded_.top) : place(state));
      if (!key) continue;
      places_[upcased(state.path)] = *key;
      if (state.complete) RS_CHECK_CTX("key '" + state.path.text() + "'", add_values(*key, state));
      kept.push_back(state);
    }
    return kept;
  }

 private:
  using Key = MountedHive::Key;

  // Nothing when a program deleted it or something above it.
  Result<std::optional<Key>> find(const KeyPath& path) {
    RS_TRY(auto key, live_.root());
    for (const auto name : path.components()) {
      RS_TRY(const auto next, live_.open(key, std::string(name)));
      if (!next) return std::optional<Key>();
      key = *next;
    }
    return std::optional<Key>(key);
  }

  // A key that programs may have made already, but never saw as the version has it: its values stay, its
  // class and security become the version's, as they do where such a key is saved (PutKey::merge).
  Result<std::optional<Key>> place(const KeyState& state) {
    const auto parent = places_.find(upcased(state.path.parent()));
    if (parent == places_.end()) return std::optional<Key>();
    const std::string name(state.path.name());
    RS_TRY(const auto there, live_.open(parent->second, name));
    if (there) {
      RS_CHECK(live_.set_entry(*there, state.entry));
      return there;
    }
    RS_TRY(const auto made, live_.create(parent->second, name, state.entry));
    return std::optional<Key>(made);
  }

  Result<void> add_values(Key key, const KeyState& state) {
    for (const auto& value : state.values) {
      RS_TRY(const bool there, live_.has_value(key, value.name));
      if (!there) RS_CHECK(live_.set_value(key, value.name, value.type, loaded_.data_of(state, value)));
    }
    return {};
  }

  MountedHive& live_;
  const LoadedKeys& loaded_;
  std::map<std::string, Key> places_;  // by upcased path
};

}  // namespace

Result<std::vector<KeyState>> merge_loaded(MountedHive& live, const LoadedKeys& loaded) {
  return Merge(live, loaded).run();
}

}  // namespace roamstead::agent
