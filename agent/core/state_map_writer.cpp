#include "agent/core/state_map_writer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/base/guid.h"
#include "common/base/log.h"

namespace roamstead::agent {

using namespace state_map;

namespace {

constexpr std::uint64_t kStateBits = 15;

std::uint64_t random_word() {
  std::array<std::byte, 8> bytes{};
  fill_random(bytes);
  return load_le<std::uint64_t>(bytes) | 1;
}

Prefix encode(const StateMapPrefix& prefix) {
  Prefix to{};
  to.root = static_cast<std::uint16_t>(prefix.root);
  to.is_key = prefix.is_key ? 1 : 0;
  to.units = static_cast<std::uint16_t>(prefix.text.size());
  std::transform(prefix.text.begin(), prefix.text.end(), to.text, upcase_unit);
  return to;
}

bool has_prefixes(const Header& header, const std::vector<StateMapPrefix>& prefixes) {
  if (header.prefix_count != prefixes.size()) return false;
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    const auto expected = encode(prefixes[i]);
    if (std::memcmp(&header.prefixes[i], &expected, sizeof expected) != 0) return false;
  }
  return true;
}

void write_prefixes(Header& header, const std::vector<StateMapPrefix>& prefixes) {
  header.prefix_count = 0;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (std::size_t i = 0; i < prefixes.size(); ++i) header.prefixes[i] = encode(prefixes[i]);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  header.prefix_count = static_cast<std::uint32_t>(prefixes.size());
}

}  // namespace

Result<std::unique_ptr<StateMapWriter>> StateMapWriter::create(StateMapMemory& memory,
                                                               std::vector<StateMapPrefix> prefixes,
                                                               std::uint32_t service_process,
                                                               std::uint32_t wait_ms,
                                                               std::uint32_t first_slots) {
  if (prefixes.size() > kMaxPrefixes)
    return fail(ErrorCode::invalid_argument, std::to_string(prefixes.size()) +
                                                 " names lead to the profile, " +
                                                 std::to_string(kMaxPrefixes) + " are possible");
  for (const auto& prefix : prefixes)
    if (prefix.text.empty() || prefix.text.size() > kMaxPrefixUnits || prefix.text.back() == u'\\' ||
        prefix.root >= kMaxRoots)
      return fail(ErrorCode::invalid_argument, "no name of a profile: " + std::to_string(prefix.text.size()) +
                                                   " units, at most " + std::to_string(kMaxPrefixUnits) +
                                                   " are possible");
  std::stable_sort(prefixes.begin(), prefixes.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  RS_TRY(const auto bytes, memory.make_header(sizeof(Header)));
  const bool taken_over = view_header(bytes.data(), bytes.size()) != nullptr;
  auto& header = taken_over ? *reinterpret_cast<Header*>(bytes.data()) : *new (bytes.data()) Header{};
  header.version = kVersion;
  header.bytes = sizeof(Header);
  header.instance = random_word();
  header.service_process = service_process;
  header.wait_ms = wait_ms;
  header.complete_roots = 0;
  header.flags = 0;
  for (auto& one : header.in_use) one = 0;
  if (!taken_over || !has_prefixes(header, prefixes)) write_prefixes(header, prefixes);
  if (!taken_over) header.seed = random_word();
  std::unique_ptr<StateMapWriter> writer(new StateMapWriter(memory, header));
  writer->number_ = header.table;
  RS_CHECK(writer->new_table(first_slots));
  header.generation.fetch_add(1, std::memory_order_acq_rel);
  header.renames = 0;
  std::atomic_thread_fence(std::memory_order_release);
  header.magic = kHeaderMagic;  // last: before, it is no header
  return writer;
}

// The caller holds mutex_ or is alone. The new table is empty, and used at once.
Result<void> StateMapWriter::new_table(std::uint32_t slots) {
  // A program that just looks at a former table keeps its name for a moment.
  const auto make = [&](std::uint32_t number) {
    return memory_.make_table(number, sizeof(Table) + slots * sizeof(Slot));
  };
  auto number = number_ + 1;
  auto bytes = make(number);
  for (int attempt = 0; attempt < 16 && !bytes && bytes.error().code == ErrorCode::exists; ++attempt)
    bytes = make(++number);
  if (!bytes) return fail(std::move(bytes).error());
  auto& table = *new (bytes->data()) Table{};
  table.magic = kTableMagic;
  table.version = kVersion;
  table.number = number;
  table.slot_count = slots;
  table.instance = header_->instance;
  table.load_library32 = load_library32_;
  slots_ = reinterpret_cast<Slot*>(bytes->data() + sizeof(Table));
  slot_count_ = slots;
  used_ = 0;
  const auto former = number_;
  number_ = table.number;
  header_->table.store(number_, std::memory_order_release);
  if (former != 0) memory_.drop_table(former);  // perhaps one of a service before this one
  return {};
}

// The name's slot; with `to_add` an empty one where it has none. Null: there is none.
Slot* StateMapWriter::find(std::uint64_t hash, bool to_add) {
  auto at = static_cast<std::uint32_t>(hash >> 20);
  for (std::uint32_t probe = 0; probe < kMaxProbes; ++probe, ++at) {
    auto& slot = slots_[at & (slot_count_ - 1)];
    const auto now = slot.load(std::memory_order_relaxed);
    if (now != 0 && (now & ~kStateBits) == hash) return &slot;
    if (now == 0) return to_add ? &slot : nullptr;
  }
  return nullptr;
}

// Twice as large; at its largest, empty. Names that mean nothing any more are left behind.
bool StateMapWriter::grow() {
  const auto* former = slots_;
  const auto count = slot_count_;
  std::vector<std::uint64_t> kept;
  for (std::uint32_t i = 0; i < count; ++i)
    if (const auto slot = former[i].load(std::memory_order_relaxed); (slot & kStateBits) != 0)
      kept.push_back(slot);
  if (count >= kMostSlots) kept.clear();
  const auto slots = kept.size() * 4 < count ? count : std::min(count * 2, kMostSlots);
  if (auto made = new_table(slots); !made) {
    if (!warned_) log_warning("the state map cannot grow: {}", made.error().to_string());
    warned_ = true;
    return false;
  }
  for (const auto slot : kept)
    if (auto* to = find(slot & ~kStateBits, true)) {
      to->store(slot, std::memory_order_release);
      ++used_;
    }
  return true;
}

void StateMapWriter::add(std::uint32_t root, std::u16string_view name, std::uint32_t state,
                         std::uint32_t generation) {
  const auto hash = hash_name(header_->seed, root, name.data(), name.size()) & ~kStateBits;
  std::lock_guard lock(mutex_);
  if (header_->generation != generation || header_->renames != 0) return;
  auto* slot = find(hash, true);
  const bool is_new = slot == nullptr || slot->load(std::memory_order_relaxed) == 0;
  if (is_new && (slot == nullptr || used_ >= slot_count_ / 2)) {
    if (!grow()) return;
    slot = find(hash, true);
    if (slot == nullptr) return;
  }
  if (is_new) ++used_;
  slot->store(slot->load(std::memory_order_relaxed) | hash | (state & kStateBits), std::memory_order_release);
}

void StateMapWriter::erase(std::uint32_t root, std::u16string_view name) {
  const auto hash = hash_name(header_->seed, root, name.data(), name.size()) & ~kStateBits;
  std::lock_guard lock(mutex_);
  if (auto* slot = find(hash, false)) slot->store(hash, std::memory_order_release);
}

void StateMapWriter::forget(std::uint32_t state) {
  std::lock_guard lock(mutex_);
  for (std::uint32_t i = 0; i < slot_count_; ++i)
    if (const auto now = slots_[i].load(std::memory_order_relaxed); (now & state & kStateBits) != 0)
      slots_[i].store(now & ~std::uint64_t{state & kStateBits}, std::memory_order_release);
}

void StateMapWriter::clear() { forget(static_cast<std::uint32_t>(kStateBits)); }

void StateMapWriter::set_load_library32(std::uint32_t address) {
  std::lock_guard lock(mutex_);
  load_library32_ = address;
  (reinterpret_cast<Table*>(slots_) - 1)->load_library32.store(address, std::memory_order_release);
}

void StateMapWriter::set_flag(Flag flag, bool on) {
  if (on)
    header_->flags.fetch_or(flag, std::memory_order_release);
  else
    header_->flags.fetch_and(~std::uint32_t{flag}, std::memory_order_release);
}

void StateMapWriter::set_complete(std::uint32_t root, bool complete) {
  if (complete)
    header_->complete_roots.fetch_or(1u << root, std::memory_order_release);
  else
    header_->complete_roots.fetch_and(~(1u << root), std::memory_order_release);
}

void StateMapWriter::begin_rename() {
  std::lock_guard lock(mutex_);
  header_->renames.fetch_add(1, std::memory_order_acq_rel);
  header_->generation.fetch_add(1, std::memory_order_acq_rel);
}

void StateMapWriter::end_rename() {
  std::lock_guard lock(mutex_);
  header_->generation.fetch_add(1, std::memory_order_acq_rel);
  header_->renames.fetch_sub(1, std::memory_order_acq_rel);
}

void StateMapWriter::begin_use(std::uint32_t root, std::u16string_view name) {
  std::lock_guard lock(mutex_);
  ++in_use_[hash_name(header_->seed, root, name.data(), name.size())];
  show_use();
}

void StateMapWriter::end_use(std::uint32_t root, std::u16string_view name) {
  std::lock_guard lock(mutex_);
  const auto found = in_use_.find(hash_name(header_->seed, root, name.data(), name.size()));
  if (found == in_use_.end()) return;
  if (--found->second == 0) in_use_.erase(found);
  show_use();
}

// mutex_ is held. What stays in use keeps no fixed place: who looks in between tries once more anyway.
void StateMapWriter::show_use() {
  auto at = in_use_.begin();
  for (auto& one : header_->in_use) {
    one.store(at == in_use_.end() ? 0 : at->first, std::memory_order_release);
    if (at != in_use_.end()) ++at;
  }
  if (at != in_use_.end()) header_->in_use[0].store(1, std::memory_order_release);
}

std::size_t StateMapWriter::known() const {
  std::lock_guard lock(mutex_);
  std::size_t known = 0;
  for (std::uint32_t i = 0; i < slot_count_; ++i)
    if ((slots_[i].load(std::memory_order_relaxed) & kStateBits) != 0) ++known;
  return known;
}

}  // namespace roamstead::agent
