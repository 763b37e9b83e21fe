#include "agent/win/intercept/map_sections.h"

#include "agent/core/intercept_protocol.h"
#include "agent/win/intercept/security.h"

namespace roamstead::agent {

MapSections::~MapSections() {
  for (auto& [number, section] : tables_) ::UnmapViewOfFile(section.view);
  if (header_.view != nullptr) ::UnmapViewOfFile(header_.view);
}

// In the global namespace, where only services and administrators can make sections: nobody can be there
// first, except a service before this one.
Result<MutableByteView> MapSections::make(const std::wstring& suffix, std::size_t bytes, bool may_exist,
                                          Section& section) {
  const auto name = L"Global\\" + std::wstring(reinterpret_cast<const wchar_t*>(intercept::kSectionName)) +
                    win::widen(sid_) + suffix;
  RS_TRY(auto security, win::Security::parse(state_map_sddl(sid_)));
  section.handle = win::own(::CreateFileMappingW(INVALID_HANDLE_VALUE, security.get(), PAGE_READWRITE, 0,
                                                 static_cast<DWORD>(bytes), name.c_str()));
  if (!section.handle) return fail(win::last_windows_error("the section " + win::narrow(name)));
  if (::GetLastError() == ERROR_ALREADY_EXISTS && !may_exist)
    return fail(ErrorCode::exists, "the section " + win::narrow(name) + " is there already");
  section.view = ::MapViewOfFile(section.handle.get(), FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, bytes);
  if (section.view == nullptr) return fail(win::last_windows_error("a view of " + win::narrow(name)));
  return MutableByteView(static_cast<std::byte*>(section.view), bytes);
}

Result<MutableByteView> MapSections::make_header(std::size_t bytes) {
  return make(L"", bytes, true, header_);
}

Result<MutableByteView> MapSections::make_table(std::uint32_t number, std::size_t bytes) {
  Section section;
  RS_TRY(const auto view, make(L"." + std::to_wstring(number), bytes, false, section));
  tables_[number] = std::move(section);
  return view;
}

void MapSections::drop_table(std::uint32_t number) {
  const auto found = tables_.find(number);
  if (found == tables_.end()) return;
  ::UnmapViewOfFile(found->second.view);
  tables_.erase(found);
}

}  // namespace roamstead::agent
