#include "agent/win/cloud_files_win.h"

#include <windows.h>

#include <algorithm>

#include "agent/win/api/cloud_api.h"
#include "agent/win/attribute_watch.h"
#include "agent/win/base/handle.h"
#include "agent/win/base/windows_error.h"
#include "common/base/log.h"
#include "common/ntfs/reparse.h"

namespace roamstead::agent {
namespace {

using profile::ProfilePath;

constexpr std::size_t kMostIdentityBytes = 4096;  // of a placeholder, as the API documents it
// Of this provider, for ever.
constexpr GUID kProvider = {0x6f3c1d52, 0x8a0b, 0x4b77, {0x9e, 0x15, 0x2d, 0x51, 0xc4, 0x7a, 0x90, 0x3e}};

Result<void> cloud_result(const std::string& what, HRESULT result) {
  if (SUCCEEDED(result)) return {};
  if (result == win::kNotACloudFile) return fail(ErrorCode::unsupported, what + ": it is no placeholder");
  if (result == win::kNotUnderSyncRoot) return fail(ErrorCode::not_found, what + ": it is in no sync root");
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
    for (auto& [path, connection] : connections_) {
      connection->watch.reset();
      api_.disconnect(connection->key);
    }
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
    registration.file_identity = root.text().data();
    registration.file_identity_bytes = static_cast<DWORD>(root.text().size());
    registration.provider = kProvider;
    win::CfSyncPolicies policies{};
    policies.struct_bytes = sizeof policies;
    policies.hydration = win::kCfHydrationFull;
    policies.population = win::kCfPopulationFull;
    const auto result = api_.register_root(path.c_str(), &registration, &policies,
                                           win::kCfRegisterUpdate | win::kCfRegisterRootPopulated);
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
        {win::CfCallbackType::notify_close_completion, on_closed},
        {win::CfCallbackType::notify_dehydrate, on_dehydrate},
        {win::CfCallbackType::notify_dehydrate_completion, on_dehydrated},
        {win::CfCallbackType::none, nullptr},
    };
    auto connection = std::make_unique<Connection>();
    connection->port = this;
    connection->callbacks = &callbacks;
    constexpr DWORD kFlags = win::kCfConnectProcessInfo | win::kCfConnectFullPath | win::kCfConnectBlockSelf;
    RS_CHECK(
        cloud_result("connecting to the sync root '" + root.text() + "'",
                     api_.connect(path.c_str(), kCallbacks, connection.get(), kFlags, &connection->key)));
    // Pins are attributes, and nobody tells of them but the folder.
    auto watch =
        AttributeWatch::start(path, [this, root, &callbacks](const std::wstring& name, FileNumber file) {
          const auto item = ProfilePath::parse(root.text() + "/" + profile_text(name));
          if (!item) return;
          CloudRequest request;
          request.kind = CloudRequest::Kind::attributes;
          request.item = {file, *item};
          callbacks.on_request(request);
        });
    if (!watch) log_warning("pins in '{}' are not seen: {}", root.text(), watch.error().to_string());
    if (watch) connection->watch = std::move(*watch);
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
    connection->watch.reset();
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

  Result<void> complete_directory(CloudRequestId id) override {
    win::CfOperationParameters parameters{};
    parameters.bytes = parameters_bytes<win::CfTransferPlaceholders>();
    parameters.of.placeholders.flags = win::kCfTransferNoPopulation;
    auto done = execute(id, win::CfOperation::transfer_placeholders, parameters, "completing a directory");
    forget(id);
    return done;
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

  Result<void> convert(FileNumber file, bool directory, const std::string& identity) override {
    RS_TRY(const auto handle, open(file, WRITE_DAC, kShareAll));
    if (!directory) {  // what is one already stays as it is
      RS_TRY(const auto now, state_of(handle.get(), file));
      if (now.placeholder) return {};
    }
    const auto flags =
        win::kCfConvertInSync | (directory ? win::kCfConvertPopulate : win::kCfConvertDehydrate);
    return cloud_result("making a placeholder of " + what(file),
                        api_.convert(handle.get(), identity.data(), static_cast<DWORD>(identity.size()),
                                     flags, nullptr, nullptr));
  }

  Result<void> hydrate(FileNumber file) override {
    RS_TRY(const auto handle, open(file, WRITE_DAC, kShareAll));
    LARGE_INTEGER begin{}, all{};
    all.QuadPart = -1;  // to the end
    return cloud_result("loading " + what(file), api_.hydrate(handle.get(), begin, all, 0, nullptr));
  }

  Result<PlaceholderState> state(FileNumber file) override {
    RS_TRY(const auto handle, open(file, 0, kShareAll));
    return state_of(handle.get(), file);
  }

  // Shared with nobody: who has it open keeps it, and nobody gets it meanwhile.
  Result<void> dehydrate(FileNumber file) override {
    RS_TRY(const auto handle, open(file, WRITE_DAC | FILE_WRITE_DATA, 0));
    LARGE_INTEGER begin{}, all{};
    all.QuadPart = -1;
    return cloud_result("dehydrating " + what(file), api_.dehydrate(handle.get(), begin, all, 0, nullptr));
  }

 private:
  struct Connection {
    WindowsCloudFiles* port = nullptr;
    CloudCallbacks* callbacks = nullptr;
    LONGLONG key = 0;
    std::unique_ptr<AttributeWatch> watch;
  };

  static constexpr DWORD kShareAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  static std::string what(FileNumber file) { return "the file with id " + std::to_string(file); }

  Result<std::wstring> native(const ProfilePath& path) const {
    RS_TRY(auto text, win::wide_text(path.text()));
    std::replace(text.begin(), text.end(), L'/', L'\\');
    return text.empty() ? root_ : root_ + L"\\" + text;
  }

  // By its number: no name leads elsewhere meanwhile.
  Result<win::Handle> open(FileNumber file, DWORD access, DWORD share) const {
    const win::Handle folder(::CreateFileW(root_.c_str(), FILE_READ_ATTRIBUTES, kShareAll, nullptr,
                                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr));
    if (!folder) return win::windows_error("opening the profile's folder");
    FILE_ID_DESCRIPTOR id{};
    id.dwSize = sizeof id;
    id.Type = FileIdType;
    id.FileId.QuadPart = static_cast<LONGLONG>(file);
    win::Handle handle(::OpenFileById(folder.get(), &id, access | FILE_READ_ATTRIBUTES | SYNCHRONIZE, share,
                                      nullptr, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT));
    if (!handle) return win::windows_error("opening " + what(file));
    return handle;
  }

  Result<PlaceholderState> state_of(HANDLE handle, FileNumber file) const {
    alignas(win::CfPlaceholderStandardInfo)
        std::byte answer[sizeof(win::CfPlaceholderStandardInfo) + kMostIdentityBytes];
    DWORD bytes = 0;
    const auto result = api_.placeholder_info(handle, win::kCfStandardInfo, answer,
                                              static_cast<DWORD>(sizeof answer), &bytes);
    PlaceholderState state;
    state.whole = true;
    if (result == win::kNotACloudFile) return state;
    RS_CHECK(cloud_result("asking about " + what(file), result));
    FILE_BASIC_INFO basic{};
    LARGE_INTEGER size{};
    if (::GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic) == 0 ||
        ::GetFileSizeEx(handle, &size) == 0)
      return win::windows_error("looking at " + what(file));
    const auto& info = *reinterpret_cast<const win::CfPlaceholderStandardInfo*>(answer);
    state.placeholder = true;
    // Both must say so: who believes it of a file that is not all there takes zeros for a program's.
    state.whole = info.on_disk_bytes.QuadPart >= size.QuadPart &&
                  (basic.FileAttributes & ntfs::kRecallOnDataAccess) == 0;
    state.in_sync = info.in_sync == win::kCfInSync;
    if (info.pin <= static_cast<DWORD>(CloudPin::excluded)) state.pin = static_cast<CloudPin>(info.pin);
    return state;
  }

  // In the profile's writing.
  static std::string profile_text(std::wstring name) {
    std::replace(name.begin(), name.end(), L'\\', L'/');
    return win::narrow_text(name);
  }

  // Where Windows says that the file is, by a path from the volume's root.
  Result<ProfilePath> profile_path(const wchar_t* normalized) const {
    const std::wstring path = normalized == nullptr ? L"" : normalized;
    const auto root = root_.substr(root_.find(L':') + 1);
    if (path.size() < root.size() ||
        ::CompareStringOrdinal(path.c_str(), static_cast<int>(root.size()), root.c_str(),
                               static_cast<int>(root.size()), TRUE) != CSTR_EQUAL)
      return fail(ErrorCode::invalid_argument, "'" + win::narrow_text(path) + "' is not in the profile");
    return ProfilePath::parse(profile_text(path.substr(std::min(path.size(), root.size() + 1))));
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

  // Nothing where Windows names no file of the profile's.
  static Result<CloudRequest> request_of(const win::CfCallbackInfo* info, CloudRequest::Kind kind) {
    auto* port = static_cast<Connection*>(info->context)->port;
    CloudRequest request;
    request.kind = kind;
    RS_TRY(request.item.path, port->profile_path(info->normalized_path));
    request.item.file = static_cast<FileNumber>(info->file);
    request.identity.assign(static_cast<const char*>(info->file_identity),
                            std::min<std::size_t>(info->file_identity_bytes, kMostIdentityBytes));
    request.size_bytes = info->file_bytes < 0 ? 0 : static_cast<std::uint64_t>(info->file_bytes);
    if (info->process != nullptr && info->process->image_path != nullptr) {
      const auto image = win::narrow_text(info->process->image_path);
      request.process = image.substr(image.rfind('\\') + 1);
    }
    return request;
  }

  static void ask(const win::CfCallbackInfo* info, CloudRequest::Kind kind, ByteRange range) {
    auto* connection = static_cast<Connection*>(info->context);
    auto request = request_of(info, kind);
    const auto id = connection->port->note(*info, request ? request->identity : std::string());
    if (!request) {
      CloudRequest refused;
      refused.kind = kind;
      refused.id = id;
      (void)connection->port->refuse(refused, range, false);
      return;
    }
    request->id = id;
    request->range = range;
    connection->callbacks->on_request(*request);
  }

  static void tell(const win::CfCallbackInfo* info, CloudRequest::Kind kind, bool done) {
    auto request = request_of(info, kind);
    if (!request) return;
    request->done = done;
    static_cast<Connection*>(info->context)->callbacks->on_request(*request);
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
  static void CALLBACK on_closed(const win::CfCallbackInfo* info, const win::CfCallbackParameters*) {
    // Looking after what was closed opens and closes it.
    if (info->process != nullptr && info->process->process == ::GetCurrentProcessId()) return;
    tell(info, CloudRequest::Kind::closed, false);
  }
  static void CALLBACK on_dehydrated(const win::CfCallbackInfo* info,
                                     const win::CfCallbackParameters* parameters) {
    tell(info, CloudRequest::Kind::dehydrated,
         (parameters->of.dehydrated.flags & win::kCfCompletionDehydrated) != 0);
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
  const bool all = find(library, "CfRegisterSyncRoot", api.register_root) &&
                   find(library, "CfUnregisterSyncRoot", api.unregister_root) &&
                   find(library, "CfConnectSyncRoot", api.connect) &&
                   find(library, "CfDisconnectSyncRoot", api.disconnect) &&
                   find(library, "CfExecute", api.execute) &&
                   find(library, "CfReportProviderProgress", api.report_progress) &&
                   find(library, "CfConvertToPlaceholder", api.convert) &&
                   find(library, "CfGetPlaceholderInfo", api.placeholder_info) &&
                   find(library, "CfDehydratePlaceholder", api.dehydrate) &&
                   find(library, "CfHydratePlaceholder", api.hydrate);
  if (!all) {
    ::FreeLibrary(library);
    return fail(ErrorCode::unsupported, "cldapi.dll lacks functions: files come by the hook");
  }
  return std::unique_ptr<CloudFilesPort>(
      std::make_unique<WindowsCloudFiles>(library, api, std::move(root), std::move(wide_version)));
}

}  // namespace roamstead::agent
