#include "agent/win/cloud_files_win.h"

#include <windows.h>

#include <algorithm>

#include "agent/win/api/cloud_api.h"
#include "agent/win/base/handle.h"
#include "agent/win/base/windows_error.h"

namespace roamstead::agent {
namespace {

using profile::ProfilePath;

constexpr std::size_t kMostIdentityBytes = 4096;  // of a placeholder, as the API documents it
// Of this provider, for ever.
constexpr GUID kProvider = {0x6f3c1d52, 0x8a0b, 0x4b77, {0x9e, 0x15, 0x2d, 0x51, 0xc4, 0x7a, 0x90, 0x3e}};

Result<void> cloud_result(const std::string& what, HRESULT result) {
  if (SUCCEEDED(result)) return {};
  if (result == win::kCloudRequestAborted || result == win::kCloudRequestCancelled)
    return fail(ErrorCode::cancelled, what + ": nobody waits for it any more");
  if (HRESULT_FACILITY(result) == FACILITY_WIN32)
    return win::windows_error(what, static_cast<unsigned long>(HRESULT_CODE(result)));
  return fail(ErrorCode::io, what + ": HRESULT " + std::to_string(static_cast<long>(result)));
}

// The parameters' length as the API wants it: up to the end of the operation's own part.
template <class Part>
ULONG parameters_bytes() {
  return static_cast<ULONG>(offsetof(win::CfOperationParameters, of) + sizeof(Part));
}

// A request's keys, with which it is answered.
struct Keys {
  LONGLONG connection = 0, transfer = 0, request = 0;
  std::string identity;
};

class WindowsCloudFiles final : public CloudFilesPort {
 public:
  WindowsCloudFiles(HMODULE library, const win::CloudApi& api, std::wstring root, std::wstring version)
      : library_(library), api_(api), root_(std::move(root)), version_(std::move(version)) {}
  ~WindowsCloudFiles() override {
    for (auto& [path, connection] : connections_) api_.disconnect(connection->key);
    ::FreeLibrary(library_);
  }

  Result<void> register_root(const ProfilePath& root) override {
    RS_TRY(const auto path, native(root));
    win::CfSyncRegistration registration{};
    registration.struct_bytes = sizeof registration;
    registration.provider_name = L"Roamstead";
    registration.provider_version = version_.c_str();
    registration.root_identity = root.text().data();
    registration.root_identity_bytes = static_cast<DWORD>(root.text().size());
    // Of the root itself, for which placeholders are asked too.
    registration.file_identity = root.text().data();
    registration.file_identity_bytes = static_cast<DWORD>(root.text().size());
    registration.provider = kProvider;
    win::CfSyncPolicies policies{};
    policies.struct_bytes = sizeof policies;
    policies.hydration = win::kCfHydrationFull;
    policies.population = win::kCfPopulationFull;
    const auto result = api_.register_root(path.c_str(), &registration, &policies, win::kCfRegisterUpdate);
    // Nothing documented tells an overlap from other errors.
    auto done = cloud_result("registering the sync root '" + root.text() + "'", result);
    if (!done)
      return fail(
          std::move(done).error().with("is another provider's root, as OneDrive's, above or below it?"));
    return {};
  }

  Result<void> unregister_root(const ProfilePath& root) override {
    RS_TRY(const auto path, native(root));
    return cloud_result("unregistering the sync root '" + root.text() + "'",
                        api_.unregister_root(path.c_str()));
  }

  Result<void> connect(const ProfilePath& root, CloudCallbacks& callbacks) override {
    RS_TRY(const auto path, native(root));
    static constexpr win::CfCallbackRegistration kCallbacks[] = {
        {win::CfCallbackType::fetch_data, on_fetch_data},
        {win::CfCallbackType::cancel_fetch_data, on_cancel},
        {win::CfCallbackType::fetch_placeholders, on_fetch_placeholders},
        {win::CfCallbackType::cancel_fetch_placeholders, on_cancel},
        {win::CfCallbackType::notify_dehydrate, on_dehydrate},
        {win::CfCallbackType::none, nullptr},
    };
    auto connection = std::make_unique<Connection>();
    connection->port = this;
    connection->callbacks = &callbacks;
    constexpr DWORD kFlags = win::kCfConnectProcessInfo | win::kCfConnectFullPath | win::kCfConnectBlockSelf;
    RS_CHECK(
        cloud_result("connecting to the sync root '" + root.text() + "'",
                     api_.connect(path.c_str(), kCallbacks, connection.get(), kFlags, &connection->key)));
    std::lock_guard lock(mutex_);
    connections_[root] = std::move(connection);
    return {};
  }

  Result<void> disconnect(const ProfilePath& root) override {
    std::unique_ptr<Connection> connection;
    {
      std::lock_guard lock(mutex_);
      const auto found = connections_.find(root);
      if (found == connections_.end()) return {};
      connection = std::move(found->second);
      connections_.erase(found);
    }
    // Returns once no callback is running.
    return cloud_result("disconnecting from the sync root '" + root.text() + "'",
                        api_.disconnect(connection->key));
  }

  Result<void> transfer_data(CloudRequestId id, std::uint64_t offset, ByteView data) override {
    win::CfOperationParameters parameters{};
    parameters.bytes = parameters_bytes<win::CfTransferData>();
    parameters.of.data.buffer = data.data();
    parameters.of.data.offset = static_cast<LONGLONG>(offset);
    parameters.of.data.bytes = static_cast<LONGLONG>(data.size());
    return execute(id, win::CfOperation::transfer_data, parameters, "transferring bytes");
  }

  Result<void> transfer_placeholders(CloudRequestId id, const std::vector<CloudPlaceholder>& items,
                                     bool last) override {
    std::vector<std::wstring> names;
    std::vector<win::CfPlaceholderCreateInfo> made;
    names.reserve(items.size());  // made points into it
    for (const auto& item : items) {
      const auto& identity = item.identity.text();
      if (identity.size() > kMostIdentityBytes)
        return fail(ErrorCode::unsupported, "'" + identity + "': too long a path for a placeholder");
      RS_TRY(auto name, win::wide_text(item.name));
      names.push_back(std::move(name));
      win::CfPlaceholderCreateInfo info{};
      info.name = names.back().c_str();
      const auto& metadata = item.entry.metadata;
      info.times.CreationTime.QuadPart = static_cast<LONGLONG>(metadata.created_100ns);
      info.times.LastWriteTime.QuadPart = static_cast<LONGLONG>(metadata.written_100ns);
      info.times.LastAccessTime = info.times.ChangeTime = info.times.LastWriteTime;
      info.times.FileAttributes =
          metadata.attributes | (item.entry.is_directory() ? DWORD{FILE_ATTRIBUTE_DIRECTORY} : DWORD{0});
      if (info.times.FileAttributes == 0) info.times.FileAttributes = FILE_ATTRIBUTE_NORMAL;
      info.file_bytes = item.entry.is_directory() ? 0 : static_cast<LONGLONG>(item.entry.size_bytes);
      info.identity = identity.data();
      info.identity_bytes = static_cast<DWORD>(identity.size());
      info.flags = win::kCfPlaceholderInSync |
                   (item.entry.is_directory() ? DWORD{0} : win::kCfPlaceholderNoPopulation);
      made.push_back(info);
    }
    win::CfOperationParameters parameters{};
    parameters.bytes = parameters_bytes<win::CfTransferPlaceholders>();
    parameters.of.placeholders.flags = last ? win::kCfTransferNoPopulation : 0;
    parameters.of.placeholders.total = static_cast<LONGLONG>(made.size());
    parameters.of.placeholders.items = made.empty() ? nullptr : made.data();
    parameters.of.placeholders.count = static_cast<DWORD>(made.size());
    RS_CHECK(execute(id, win::CfOperation::transfer_placeholders, parameters, "making placeholders"));
    for (std::size_t i = 0; i < made.size(); ++i)
      RS_CHECK(cloud_result("the placeholder '" + items[i].identity.text() + "'", made[i].result));
    return {};
  }

  Result<void> allow_dehydrate(CloudRequestId id, bool allow) override {
    const auto keys = keys_of(id);
    win::CfOperationParameters parameters{};
    parameters.bytes = parameters_bytes<win::CfAckDehydrate>();
    parameters.of.dehydrate.status = allow ? 0 : win::kStatusCloudPinned;
    parameters.of.dehydrate.identity = keys.identity.data();
    parameters.of.dehydrate.identity_bytes = static_cast<DWORD>(keys.identity.size());
    auto done = execute(id, win::CfOperation::ack_dehydrate, parameters, "answering about dehydration");
    forget(id);
    return done;
  }

  Result<void> report_progress(CloudRequestId id, std::uint64_t done, std::uint64_t total) override {
    const auto keys = keys_of(id);
    LARGE_INTEGER completed{}, all{};
    completed.QuadPart = static_cast<LONGLONG>(done);
    all.QuadPart = static_cast<LONGLONG>(std::max<std::uint64_t>(total, 1));
    return cloud_result("reporting progress",
                        api_.report_progress(keys.connection, keys.transfer, all, completed));
  }

  Result<void> refuse(const CloudRequest& request, ByteRange rest, bool retryable) override {
    const auto status = retryable ? win::kStatusCloudNetworkUnavailable : win::kStatusCloudUnsuccessful;
    win::CfOperationParameters parameters{};
    auto operation = win::CfOperation::transfer_data;
    if (request.kind == CloudRequest::Kind::fetch_data) {
      parameters.bytes = parameters_bytes<win::CfTransferData>();
      parameters.of.data.status = status;
      parameters.of.data.offset = static_cast<LONGLONG>(rest.offset);
      parameters.of.data.bytes = static_cast<LONGLONG>(rest.length);
    } else if (request.kind == CloudRequest::Kind::fetch_placeholders) {
      operation = win::CfOperation::transfer_placeholders;
      parameters.bytes = parameters_bytes<win::CfTransferPlaceholders>();
      parameters.of.placeholders.status = status;
    } else {
      return allow_dehydrate(request.id, false);
    }
    auto done = execute(request.id, operation, parameters, "refusing");
    forget(request.id);
    return done;
  }

  Result<void> set_pin(const ProfilePath& path, CloudPin pin) override {
    RS_TRY(const auto handle, open(path, FILE_WRITE_ATTRIBUTES));
    return cloud_result("pinning '" + path.text() + "'",
                        api_.set_pin_state(handle.get(), static_cast<DWORD>(pin), 0, nullptr));
  }

  Result<void> hydrate(const ProfilePath& path) override {
    RS_TRY(const auto handle, open(path, FILE_READ_DATA));
    LARGE_INTEGER begin{}, all{};
    all.QuadPart = -1;  // to the end
    return cloud_result("loading '" + path.text() + "'", api_.hydrate(handle.get(), begin, all, 0, nullptr));
  }

 private:
  struct Connection {
    WindowsCloudFiles* port = nullptr;
    CloudCallbacks* callbacks = nullptr;
    LONGLONG key = 0;
  };

  Result<std::wstring> native(const ProfilePath& path) const {
    RS_TRY(auto text, win::wide_text(path.text()));
    std::replace(text.begin(), text.end(), L'/', L'\\');
    return text.empty() ? root_ : root_ + L"\\" + text;
  }

  Result<win::Handle> open(const ProfilePath& path, DWORD access) const {
    RS_TRY(const auto name, native(path));
    win::Handle handle(
        ::CreateFileW(name.c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                      OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, nullptr));
    if (!handle) return win::windows_error("opening '" + path.text() + "'");
    return handle;
  }

  // Ids are ours: the API's own are told apart by transfer and request key together.
  CloudRequestId note(const win::CfCallbackInfo& info, std::string identity) {
    std::lock_guard lock(mutex_);
    const auto id = ++last_id_;
    keys_[id] = {info.connection, info.transfer, info.request, std::move(identity)};
    if (keys_.size() > kMostKeys) keys_.erase(keys_.begin());  // long answered
    return id;
  }
  Keys keys_of(CloudRequestId id) const {
    std::lock_guard lock(mutex_);
    const auto found = keys_.find(id);
    return found == keys_.end() ? Keys{} : found->second;
  }
  void forget(CloudRequestId id) {
    std::lock_guard lock(mutex_);
    keys_.erase(id);
  }

  Result<void> execute(CloudRequestId id, win::CfOperation operation, win::CfOperationParameters& parameters,
                       const char* what) {
    const auto keys = keys_of(id);
    if (keys.connection == 0)
      return fail(ErrorCode::cancelled, std::string(what) + ": nobody waits for it any more");
    win::CfOperationInfo info{};
    info.struct_bytes = sizeof info;
    info.operation = operation;
    info.connection = keys.connection;
    info.transfer = keys.transfer;
    info.request = keys.request;
    return cloud_result(what, api_.execute(&info, &parameters));
  }

  static void ask(const win::CfCallbackInfo* info, CloudRequest::Kind kind, ByteRange range) {
    auto* connection = static_cast<Connection*>(info->context);
    std::string identity(static_cast<const char*>(info->file_identity),
                         std::min<std::size_t>(info->file_identity_bytes, kMostIdentityBytes));
    CloudRequest request;
    request.kind = kind;
    request.id = connection->port->note(*info, identity);
    request.size_bytes = info->file_bytes < 0 ? 0 : static_cast<std::uint64_t>(info->file_bytes);
    request.range = range;
    if (info->process != nullptr && info->process->image_path != nullptr) {
      const auto image = win::narrow_text(info->process->image_path);
      request.process = image.substr(image.rfind('\\') + 1);
    }
    auto path = ProfilePath::parse(identity);
    if (!path) {  // no placeholder of ours, or a damaged one
      (void)connection->port->refuse(request, range, false);
      return;
    }
    request.path = std::move(*path);
    connection->callbacks->on_request(request);
  }

  static void CALLBACK on_fetch_data(const win::CfCallbackInfo* info,
                                     const win::CfCallbackParameters* parameters) {
    const auto& wanted = parameters->of.fetch_data;
    if (wanted.required_offset < 0 || wanted.required_bytes < 0) return;
    ask(info, CloudRequest::Kind::fetch_data,
        {static_cast<std::uint64_t>(wanted.required_offset),
         static_cast<std::uint64_t>(wanted.required_bytes)});
  }
  static void CALLBACK on_fetch_placeholders(const win::CfCallbackInfo* info,
                                             const win::CfCallbackParameters*) {
    ask(info, CloudRequest::Kind::fetch_placeholders, {});
  }
  static void CALLBACK on_dehydrate(const win::CfCallbackInfo* info, const win::CfCallbackParameters*) {
    ask(info, CloudRequest::Kind::dehydrate, {});
  }
  static void CALLBACK on_cancel(const win::CfCallbackInfo* info, const win::CfCallbackParameters*) {
    auto* connection = static_cast<Connection*>(info->context);
    std::vector<CloudRequestId> ids;
    {
      std::lock_guard lock(connection->port->mutex_);
      for (const auto& [id, keys] : connection->port->keys_)
        if (keys.connection == info->connection && keys.transfer == info->transfer) ids.push_back(id);
    }
    for (const auto id : ids) connection->callbacks->on_cancel(id);
  }

  static constexpr std::size_t kMostKeys = 4096;

  const HMODULE library_;
  const win::CloudApi api_;
  const std::wstring root_, version_;
  mutable std::mutex mutex_;
  std::map<ProfilePath, std::unique_ptr<Connection>> connections_;
  CloudRequestId last_id_ = 0;
  std::map<CloudRequestId, Keys> keys_;
};

// By way of void*, as GetProcAddress' type is no function's own.
template <class Function>
bool find(HMODULE library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(reinterpret_cast<void*>(::GetProcAddress(library, name)));
  return function != nullptr;
}

}  // namespace

Result<std::unique_ptr<CloudFilesPort>> open_cloud_files(const std::string& profile_root,
                                                         const std::string& version) {
  RS_TRY(auto root, win::wide_text(profile_root));
  RS_TRY(auto wide_version, win::wide_text(version));
  const auto library = ::LoadLibraryExW(L"cldapi.dll", nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
  if (library == nullptr)
    return fail(ErrorCode::unsupported,
                "this Windows has no Cloud Files (cldapi.dll): files come by the hook");
  win::CloudApi api;
  const bool all =
      find(library, "CfRegisterSyncRoot", api.register_root) &&
      find(library, "CfUnregisterSyncRoot", api.unregister_root) &&
      find(library, "CfConnectSyncRoot", api.connect) &&
      find(library, "CfDisconnectSyncRoot", api.disconnect) && find(library, "CfExecute", api.execute) &&
      find(library, "CfReportProviderProgress", api.report_progress) &&
      find(library, "CfSetPinState", api.set_pin_state) && find(library, "CfHydratePlaceholder", api.hydrate);
  if (!all) {
    ::FreeLibrary(library);
    return fail(ErrorCode::unsupported, "cldapi.dll lacks functions: files come by the hook");
  }
  return std::unique_ptr<CloudFilesPort>(
      std::make_unique<WindowsCloudFiles>(library, api, std::move(root), std::move(wide_version)));
}

}  // namespace roamstead::agent
