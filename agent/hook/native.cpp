#include "agent/hook/native.h"

namespace roamstead::hook {

void* originals[kHookCount];
Native native;

namespace {

template <class Function>
bool find(HMODULE module, const char* name, Function& function) {
  function = reinterpret_cast<Function>(reinterpret_cast<void*>(::GetProcAddress(module, name)));
  return function != nullptr;
}

}  // namespace

bool find_native() {
  const auto ntdll = ::GetModuleHandleW(L"ntdll.dll");
  if (ntdll == nullptr) return false;
#define ROAMSTEAD_HOOK(name) find(ntdll, #name, originals[k##name]);
#include "agent/hook/functions.inc"
#undef ROAMSTEAD_HOOK
  bool all = true;
#define ROAMSTEAD_FIND(name) all &= find(ntdll, "Nt" #name, native.name)
  ROAMSTEAD_FIND(QueryObject);
  ROAMSTEAD_FIND(OpenSection);
  ROAMSTEAD_FIND(MapViewOfSection);
  ROAMSTEAD_FIND(FsControlFile);
  ROAMSTEAD_FIND(CreateEvent);
  ROAMSTEAD_FIND(WaitForSingleObject);
  ROAMSTEAD_FIND(CancelIoFileEx);
  ROAMSTEAD_FIND(DelayExecution);
  ROAMSTEAD_FIND(ProtectVirtualMemory);
  ROAMSTEAD_FIND(AllocateVirtualMemory);
  ROAMSTEAD_FIND(WriteVirtualMemory);
  ROAMSTEAD_FIND(QueueApcThread);
  ROAMSTEAD_FIND(ResumeThread);
  ROAMSTEAD_FIND(SuspendThread);
  ROAMSTEAD_FIND(GetContextThread);
  ROAMSTEAD_FIND(GetNextThread);
  ROAMSTEAD_FIND(QueryInformationProcess);
  ROAMSTEAD_FIND(OpenProcessTokenEx);
  ROAMSTEAD_FIND(QueryInformationToken);
#undef ROAMSTEAD_FIND
  return find(ntdll, "RtlConvertSidToUnicodeString", native.ConvertSidToUnicodeString) && all &&
         originals[kNtCreateFile] != nullptr && originals[kNtClose] != nullptr;
}

}  // namespace roamstead::hook
