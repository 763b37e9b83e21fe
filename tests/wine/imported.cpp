// The library that importer.exe is linked with: Windows loads it with the program, before any code of ours
// runs there.
extern "C" __declspec(dllexport) int imported_number() { return 42; }
