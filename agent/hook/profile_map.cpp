#include "agent/hook/profile_map.h"

#include "agent/core/intercept_protocol.h"
#include "agent/hook/entries.h"

namespace roamstead::hook {

std::atomic<const MapView*> current_map{nullptr};

namespace {

constexpr DWORD kLookEvery_ms = 1000;
constexpr unsigned kMostViews = 64;  // a view is never unmapped: some thread may look at it
constexpr WCHAR kFolder[] = L"\\BaseNamedObjects\\";

WCHAR section_name[200];
USHORT section_units = 0;
MapView views[kMostViews];
unsigned view_count = 0;
const Header* header = nullptr;
std::atomic<bool> looking{false};
std::atomic<DWORD> looked_at{0};

void append(WCHAR* text, USHORT& units, const WCHAR* more) {
  while (*more != 0 && units < 180) text[units++] = *more++;
}

void append_number(WCHAR* text, USHORT& units, std::uint32_t number) {
  WCHAR digits[11];
  unsigned count = 0;
  do {
    digits[count++] = static_cast<WCHAR>(L'0' + number % 10);
    number /= 10;
  } while (number != 0);
  while (count != 0) text[units++] = digits[--count];
}

// The section's content, read-only, for as long as the process lives; with `keep` its name too.
const void* map_section(WCHAR* name, USHORT units, bool keep, SIZE_T& bytes) {
  UNICODE_STRING text{static_cast<USHORT>(units * 2), static_cast<USHORT>(units * 2), name};
  OBJECT_ATTRIBUTES attributes{};
  attributes.Length = sizeof attributes;
  attributes.ObjectName = &text;
  attributes.Attributes = OBJ_CASE_INSENSITIVE;
  HANDLE section = nullptr;
  if (failed(native.OpenSection(&section, SECTION_MAP_READ | SECTION_QUERY, &attributes))) return nullptr;
  void* base = nullptr;
  bytes = 0;
  constexpr ULONG kViewUnmap = 2;
  const auto status = native.MapViewOfSection(section, this_process(), &base, 0, 0, nullptr, &bytes,
                                              kViewUnmap, 0, PAGE_READONLY);
  if (failed(status) || !keep) close(section);
  return failed(status) ? nullptr : base;
}

class Looking {
 public:
  Looking() : mine_(!looking.exchange(true, std::memory_order_acquire)) {}
  ~Looking() {
    if (mine_) looking.store(false, std::memory_order_release);
  }
  explicit operator bool() const { return mine_; }

 private:
  const bool mine_;
};

void use(const MapView& view) {
  current_map.store(&view, std::memory_order_release);
#if defined(__x86_64__)
  roamstead_filter.store(&view.filter, std::memory_order_release);
#endif
}

const MapView* add_view() {
  if (view_count == kMostViews) return nullptr;
  WCHAR name[220];
  USHORT units = 0;
  while (units < section_units) {
    name[units] = section_name[units];
    ++units;
  }
  name[units++] = L'.';
  append_number(name, units, header->table.load(std::memory_order_acquire));
  SIZE_T bytes = 0;
  const auto* memory = map_section(name, units, false, bytes);
  auto& view = views[view_count];
  view.header = header;
  view.filter.take(*header);
  view.table = agent::state_map::view_table(memory, bytes);
  if (view.table.slots == nullptr) return nullptr;
  ++view_count;
  use(view);
  return &view;
}

}  // namespace

bool find_user() {
  HANDLE token = nullptr;
  if (failed(native.OpenProcessTokenEx(this_process(), TOKEN_QUERY, 0, &token))) return false;
  alignas(8) char buffer[256];
  ULONG bytes = 0;
  const auto status = native.QueryInformationToken(token, kTokenUser, buffer, sizeof buffer, &bytes);
  close(token);
  if (failed(status)) return false;
  WCHAR sid[100];
  UNICODE_STRING text{0, sizeof sid, sid};
  if (failed(native.ConvertSidToUnicodeString(&text, reinterpret_cast<TOKEN_USER*>(buffer)->User.Sid, FALSE)))
    return false;
  append(section_name, section_units, kFolder);
  append(section_name, section_units, reinterpret_cast<const WCHAR*>(agent::intercept::kSectionName));
  for (USHORT i = 0; i < text.Length / 2; ++i) section_name[section_units++] = sid[i];
  return true;
}

void look_for_map() {
  const auto now = ::GetTickCount();
  const auto last = looked_at.load(std::memory_order_relaxed);
  if (section_units == 0 || (last != 0 && now - last < kLookEvery_ms)) return;
  Looking mine;
  if (!mine || current_map.load(std::memory_order_acquire) != nullptr) return;
  looked_at.store(now | 1, std::memory_order_relaxed);
  if (header == nullptr) {
    SIZE_T bytes = 0;
    const auto* memory = map_section(section_name, section_units, true, bytes);
    header = agent::state_map::view_header(memory, bytes);
    if (header == nullptr) return;
  }
  if (header->service_process == ::GetCurrentProcessId()) {
    section_units = 0;  // the service would wait for itself
    return;
  }
  if (add_view() == nullptr) {  // its table is not there (any more): whatever is in scope is asked for
    auto& view = views[view_count++];
    view.header = header;
    view.table = {};
    view.filter.take(*header);
    use(view);
  }
}

// Without the new table nothing is known, and everything is asked for.
const MapView* renew_map(const MapView* view) {
  Looking mine;
  if (!mine) return view;
  const auto* now = current_map.load(std::memory_order_acquire);
  if (now != view) return now;
  const auto* renewed = add_view();
  return renewed != nullptr ? renewed : view;
}

}  // namespace roamstead::hook
