// Registry keys: a key that is opened is complete, with its values and the names of its subkeys, so nothing
// that takes an open key needs to be intercepted, except what takes everything below it too.
#include "agent/hook/access.h"

namespace roamstead::hook {

using namespace agent::state_map;

namespace {

// Opens or makes a key: `open` is the original call.
template <class Open>
NTSTATUS open_key_by(const OBJECT_ATTRIBUTES* attributes, HANDLE* handle, Open open) {
  const auto* view = map_now();
  if (view == nullptr || attributes == nullptr) return open();
  if (attributes->RootDirectory != nullptr && handle_names.is_outside(attributes->RootDirectory)) {
    const auto status = open();
    if (!failed(status) && handle != nullptr) handle_names.note_outside(*handle);
    return status;
  }
  Located located;
  const auto decision = decide(*view, attributes, true, Op::key, kLoaded, 0, located);
  if (failed(decision.status)) return decision.status;
  const auto status = open();
  if (failed(status) || handle == nullptr) return status;
  if (decision.where == Where::inside) {
    handle_names.note_inside(*view->header, *handle, true, located.place);
  } else if (decision.where == Where::outside) {
    handle_names.note_outside(*handle);
  }
  return status;
}

NTSTATUS before_subtree(HANDLE key) {
  const auto* view = map_now();
  if (view == nullptr) return 0;
  Located located;
  const auto where = locate_handle(*view->header, key, true, located);
  if (where != Where::inside) return is_elsewhere(where) ? 0 : kTooLong;
  if (is_known(*view, located.place, kLoaded | kSubtree)) return 0;
  return ask_about(*view, Op::subtree, located.place, kLoaded | kSubtree);
}

NTSTATUS ROAMSTEAD_NT open_key(HANDLE* handle, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes) {
  return open_key_by(attributes, handle,
                     [&] { return ROAMSTEAD_ORIGINAL(NtOpenKey)(handle, access, attributes); });
}

NTSTATUS ROAMSTEAD_NT open_key_ex(HANDLE* handle, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes,
                                  ULONG options) {
  return open_key_by(attributes, handle,
                     [&] { return ROAMSTEAD_ORIGINAL(NtOpenKeyEx)(handle, access, attributes, options); });
}

NTSTATUS ROAMSTEAD_NT open_key_transacted(HANDLE* handle, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes,
                                          HANDLE transaction) {
  return open_key_by(attributes, handle, [&] {
    return ROAMSTEAD_ORIGINAL(NtOpenKeyTransacted)(handle, access, attributes, transaction);
  });
}

NTSTATUS ROAMSTEAD_NT open_key_transacted_ex(HANDLE* handle, ACCESS_MASK access,
                                             OBJECT_ATTRIBUTES* attributes, ULONG options,
                                             HANDLE transaction) {
  return open_key_by(attributes, handle, [&] {
    return ROAMSTEAD_ORIGINAL(NtOpenKeyTransactedEx)(handle, access, attributes, options, transaction);
  });
}

NTSTATUS ROAMSTEAD_NT create_key(HANDLE* handle, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes,
                                 ULONG index, UNICODE_STRING* kind, ULONG options, ULONG* disposition) {
  return open_key_by(attributes, handle, [&] {
    return ROAMSTEAD_ORIGINAL(NtCreateKey)(handle, access, attributes, index, kind, options, disposition);
  });
}

NTSTATUS ROAMSTEAD_NT create_key_transacted(HANDLE* handle, ACCESS_MASK access, OBJECT_ATTRIBUTES* attributes,
                                            ULONG index, UNICODE_STRING* kind, ULONG options,
                                            HANDLE transaction, ULONG* disposition) {
  return open_key_by(attributes, handle, [&] {
    return ROAMSTEAD_ORIGINAL(NtCreateKeyTransacted)(handle, access, attributes, index, kind, options,
                                                     transaction, disposition);
  });
}

NTSTATUS ROAMSTEAD_NT rename_key(HANDLE key, UNICODE_STRING* name) {
  if (const auto refused = before_subtree(key); failed(refused)) return refused;
  const auto status = ROAMSTEAD_ORIGINAL(NtRenameKey)(key, name);
  handle_names.forget_all_inside();
  return status;
}

NTSTATUS ROAMSTEAD_NT save_key(HANDLE key, HANDLE file) {
  if (const auto refused = before_subtree(key); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtSaveKey)(key, file);
}

NTSTATUS ROAMSTEAD_NT save_key_ex(HANDLE key, HANDLE file, ULONG format) {
  if (const auto refused = before_subtree(key); failed(refused)) return refused;
  return ROAMSTEAD_ORIGINAL(NtSaveKeyEx)(key, file, format);
}

}  // namespace

void fill_key_hooks(void* (&hooks)[kHookCount]) {
  hooks[kNtOpenKey] = reinterpret_cast<void*>(&open_key);
  hooks[kNtOpenKeyEx] = reinterpret_cast<void*>(&open_key_ex);
  hooks[kNtOpenKeyTransacted] = reinterpret_cast<void*>(&open_key_transacted);
  hooks[kNtOpenKeyTransactedEx] = reinterpret_cast<void*>(&open_key_transacted_ex);
  hooks[kNtCreateKey] = reinterpret_cast<void*>(&create_key);
  hooks[kNtCreateKeyTransacted] = reinterpret_cast<void*>(&create_key_transacted);
  hooks[kNtRenameKey] = reinterpret_cast<void*>(&rename_key);
  hooks[kNtSaveKey] = reinterpret_cast<void*>(&save_key);
  hooks[kNtSaveKeyEx] = reinterpret_cast<void*>(&save_key_ex);
}

}  // namespace roamstead::hook
