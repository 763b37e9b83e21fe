#include "agent/hook/handle_names.h"

namespace roamstead::hook {

constinit HandleNames handle_names{};

namespace {

void copy_units(char16_t* to, const char16_t* from, std::size_t units) {
  __builtin_memcpy(to, from, units * sizeof(char16_t));
}

}  // namespace

void HandleNames::forget_inside(Entry& entry) {
  auto version = entry.version.load(std::memory_order_relaxed);
  if ((version & 1) != 0 ||
      !entry.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) {
    entry.handle.store(0, std::memory_order_release);  // somebody writes it now: what he writes is older
    return;
  }
  entry.handle.store(0, std::memory_order_relaxed);
  entry.version.store(version + 2, std::memory_order_release);
}

bool HandleNames::copy(const Header& header, HANDLE handle, bool is_key, char16_t* name, std::size_t& units,
                       std::uint32_t& root) const {
  const auto& entry = inside_[index(handle, kInside)];
  const auto version = entry.version.load(std::memory_order_acquire);
  if ((version & 1) != 0 || entry.handle.load(std::memory_order_relaxed) != number(handle)) return false;
  if (entry.generation != header.generation.load(std::memory_order_acquire) || (entry.is_key != 0) != is_key)
    return false;
  const std::size_t count = entry.units;
  if (count > kUnits) return false;
  copy_units(name, entry.name, count);
  root = entry.root;
  units = count;
  std::atomic_thread_fence(std::memory_order_acquire);
  return entry.version.load(std::memory_order_relaxed) == version &&
         entry.handle.load(std::memory_order_relaxed) == number(handle);
}

void HandleNames::note_inside(const Header& header, HANDLE handle, bool is_key, const Place& place) {
  auto& outside = outside_[index(handle, kOutside)];
  if (outside.load(std::memory_order_relaxed) == number(handle)) outside.store(0, std::memory_order_relaxed);
  if (place.units > kUnits) return;
  auto& entry = inside_[index(handle, kInside)];
  auto version = entry.version.load(std::memory_order_relaxed);
  if ((version & 1) != 0 ||
      !entry.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire))
    return;
  entry.generation = header.generation.load(std::memory_order_acquire);
  entry.root = static_cast<std::uint16_t>(place.root);
  entry.is_key = is_key ? 1 : 0;
  entry.units = static_cast<std::uint32_t>(place.units);
  copy_units(entry.name, place.name, place.units);
  entry.handle.store(number(handle), std::memory_order_relaxed);
  entry.version.store(version + 2, std::memory_order_release);
}

Where HandleNames::find(const Header& header, HANDLE handle, bool is_key, char16_t* name, std::size_t& units,
                        std::uint32_t& root) {
  if (is_outside(handle)) return Where::outside;
  if (copy(header, handle, is_key, name, units, root)) return root == kAbove ? Where::above : Where::inside;
  constexpr std::size_t kPrefix = agent::state_map::kMaxPrefixUnits + 2;
  struct {
    UNICODE_STRING text;
    char16_t units[kMostUnits + kPrefix];
  } answer;
  ULONG bytes = 0;
  const auto status = native.QueryObject(handle, kObjectName, &answer, sizeof answer, &bytes);
  // A name that does not fit is too long to be one below a root, or to be asked for.
  if (failed(status) || answer.text.Buffer == nullptr) return Where::outside;
  Place place;
  const auto* full = reinterpret_cast<const char16_t*>(answer.text.Buffer);
  const std::size_t full_units = answer.text.Length / 2;
  if (!agent::state_map::find_place(header, is_key, full, full_units, place)) {
    if (leads_to_root(header, is_key, full, full_units)) {
      copy_units(name, full, full_units);  // shorter than a prefix
      note_inside(header, handle, is_key, {kAbove, full, full_units});
      units = full_units;
      return Where::above;
    }
    note_outside(handle);
    return Where::outside;
  }
  if (place.units > kMostUnits) return Where::too_long;
  note_inside(header, handle, is_key, place);
  copy_units(name, place.name, place.units);
  units = place.units;
  root = place.root;
  return Where::inside;
}

bool leads_to_root(const Header& header, bool is_key, const char16_t* name, std::size_t units) {
  if (units != 0 && name[units - 1] == u'\\') --units;
  const auto count = header.prefix_count < agent::state_map::kMaxPrefixes ? header.prefix_count
                                                                          : agent::state_map::kMaxPrefixes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& prefix = header.prefixes[i];
    if ((prefix.is_key != 0) == is_key && units < prefix.units &&
        prefix.units <= agent::state_map::kMaxPrefixUnits && prefix.text[units] == u'\\' &&
        agent::state_map::begins_with(name, units, prefix.text, units))
      return true;
  }
  return false;
}

Where locate(const Header& header, const OBJECT_ATTRIBUTES* attributes, bool is_key, Located& located) {
  if (attributes == nullptr || attributes->ObjectName == nullptr) return Where::outside;
  const auto* name = reinterpret_cast<const char16_t*>(attributes->ObjectName->Buffer);
  std::size_t units = name == nullptr ? 0 : attributes->ObjectName->Length / 2;
  auto& place = located.place;
  const auto look_up = [&](const char16_t* full, std::size_t full_units) {
    if (agent::state_map::find_place(header, is_key, full, full_units, place))
      return place.units > kMostUnits ? Where::too_long : Where::inside;
    return leads_to_root(header, is_key, full, full_units) ? Where::above : Where::outside;
  };
  if (attributes->RootDirectory == nullptr) [[likely]]
    return look_up(name, units);
  std::size_t above = 0;
  const auto where =
      handle_names.find(header, attributes->RootDirectory, is_key, located.buffer, above, place.root);
  if (where != Where::inside && where != Where::above) return where;
  if (units != 0 && name[units - 1] == u'\\') --units;
  if (above + 1 + units > kMostUnits) return Where::too_long;
  if (units != 0) {
    if (above != 0 && located.buffer[above - 1] != u'\\') located.buffer[above++] = u'\\';
    copy_units(located.buffer + above, name, units);
  }
  if (where == Where::above) return look_up(located.buffer, above + units);
  place.name = located.buffer;
  place.units = above + units;
  return Where::inside;
}

}  // namespace roamstead::hook
